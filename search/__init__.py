"""What a segment is, and how one is found."""
