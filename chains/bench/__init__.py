"""Measured comparisons with a peer, each in one process run; needs `pip install peft`."""
