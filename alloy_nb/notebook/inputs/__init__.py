"""What a prompt refers to, and how much of it may leave the kernel."""
