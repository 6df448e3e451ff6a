"""Parameters, MACs and effective depth."""
