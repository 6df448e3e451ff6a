"""Whole networks, a file a family, and the catalogue of them."""
