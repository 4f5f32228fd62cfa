"""Benchmarks: how fast is it, and did that move. README.md says how to run them and how to read them."""
