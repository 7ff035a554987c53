"""A conversation, and what of it fits into a model's window."""
