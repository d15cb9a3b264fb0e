"""The encoder: text and crops to vectors, and where its files come from."""
