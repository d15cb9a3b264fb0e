"""The HTTP routes, by what they are about; each is a few lines over a function of its own."""
