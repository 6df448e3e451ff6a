"""The HTML report: one file that asks nobody for anything."""
