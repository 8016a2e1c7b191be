"""What may be configured of a server: one section of serve.yaml a module."""
