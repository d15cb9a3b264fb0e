"""SAM 2: automatic mask generation and masks from prompts."""
