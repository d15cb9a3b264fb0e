"""Requests and responses, shared by HTTP and `--json`."""
