"""Pictures of segments and photos."""
