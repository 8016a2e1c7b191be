"""Training: datasets that are cached across epochs, and functions that run on several workers."""
