"""Benchmarks: one script a question, each timing a baseline and our code in one run (docs/performance.md)."""
