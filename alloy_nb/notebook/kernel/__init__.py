"""Code of the model in the user's kernel: run, captured, stopped, told, and undone."""
