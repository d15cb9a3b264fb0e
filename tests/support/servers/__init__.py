"""Servers and browsers that tests talk to."""
