"""What is done with trained models: for now, the demo."""
