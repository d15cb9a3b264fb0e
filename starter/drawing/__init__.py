"""Drawing primitives: colors, patterns, shapes, the canvas, photo files."""
