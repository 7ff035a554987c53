"""Judges of what we send to a provider."""
