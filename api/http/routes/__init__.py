"""The HTTP routes by subject: they validate, call a service, and answer."""
