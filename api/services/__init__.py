"""Use cases, called by the command line and by HTTP."""
