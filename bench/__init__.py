"""Benchmarks: `make bench`, or `python -m bench PART…`. One table, and the commands that give it."""
