"""The index of an open library: opened here, or by the process that owns it."""
