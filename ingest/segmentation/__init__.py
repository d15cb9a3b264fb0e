"""SAM 2: automatic masks and masks from prompts."""
