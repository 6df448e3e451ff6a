"""Parameters and MACs."""
