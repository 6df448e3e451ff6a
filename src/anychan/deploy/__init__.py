"""What is done with trained models: prediction, and the demo."""
