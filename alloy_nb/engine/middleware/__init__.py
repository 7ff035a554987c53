"""What may be put around a run, a request and a call."""
