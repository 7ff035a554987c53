"""Servers for the tests: raw sockets, no framework, so that they can misbehave as networks do."""
