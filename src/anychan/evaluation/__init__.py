"""Accuracy by subset, with intervals."""
