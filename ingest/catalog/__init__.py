"""The catalog (ledger): the SQLite database of roots, files and photos."""
