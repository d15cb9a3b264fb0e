"""Finding photo files and detecting which are new, changed or gone."""
