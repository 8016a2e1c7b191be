"""Benchmarks: each runs its peers in the same minutes and prints ratios. See docs/benchmarks.md."""
