"""Text of others, made fit to be shown: as HTML, as Markdown, as plain text. Pure."""
