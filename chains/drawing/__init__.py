"""Drawings of a chain: Mermaid and DOT as text, and SVG and ASCII from one layout of our own."""

from .ascii import ascii_art
from .layout import layout
from .picture import Picture, picture
from .svg import Path, svg
from .text import dot, mermaid

__all__ = ["Path", "Picture", "ascii_art", "dot", "layout", "mermaid", "picture", "svg"]
