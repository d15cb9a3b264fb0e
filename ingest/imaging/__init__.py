"""Photo files to upright sRGB pixels and metadata."""
