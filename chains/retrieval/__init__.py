"""Retrieval: the passages of a folder that a question is about, found by BM25."""

from __future__ import annotations

from .index import Index

__all__ = ["Index"]
