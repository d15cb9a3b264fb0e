"""A folder of photos becomes searchable segments."""
