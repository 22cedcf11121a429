"""Benchmarks and the stub machines they run against. `make bench` prints the README's tables."""
