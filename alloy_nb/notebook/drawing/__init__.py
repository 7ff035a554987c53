"""A run as one sees it: segments, frames, tables, in HTML, Markdown and plain text."""
