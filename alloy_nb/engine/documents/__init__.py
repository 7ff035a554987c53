"""Documents made of a conversation: one story, told in several forms. Pure."""
