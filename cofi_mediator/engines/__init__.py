"""Engines: what computes a stage. `interface.py` is all the server knows of them."""
