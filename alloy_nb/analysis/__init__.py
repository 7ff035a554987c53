"""Many questions at once: a table whose every row is asked."""
