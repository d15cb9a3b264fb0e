"""The encoder, its preprocessing and its files."""
