"""How people reach segsearch: the command line and HTTP."""
