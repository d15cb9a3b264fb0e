"""Training of the starter segmenter."""
