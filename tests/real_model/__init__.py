"""A real inference server: built once a machine from source, with a 2.4 MB model of our own."""
