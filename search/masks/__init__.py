"""Masks: run-length encoding, geometry and overlap."""
