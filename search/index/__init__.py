"""The vector index: one contract, an embedded engine and a Qdrant server."""
