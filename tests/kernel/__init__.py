"""What a notebook's cells do in a real kernel."""
