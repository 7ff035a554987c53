"""Conversations that last: their turns, their queue, their life."""
