"""An open library: its configuration, models, index and caches."""
