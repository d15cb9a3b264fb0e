"""How the starter models are made and evaluated; not part of the wheel."""
