"""Who may send which request: keys, sessions and access levels."""
