"""The agent: its loop, its tools, its money, its conversations. It knows no notebook."""
