"""Measured comparisons with a peer, each in one process run; most need `pip install peft`."""
