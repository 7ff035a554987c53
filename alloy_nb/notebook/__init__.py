"""The face in a notebook: magics, drawing, and the tools that need the kernel."""
