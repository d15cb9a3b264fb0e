"""Training of the starter encoder."""
