"""Tools, and how their calls are checked, asked about and run."""
