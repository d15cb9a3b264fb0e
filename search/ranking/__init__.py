"""How results are ranked, beyond similarity."""
