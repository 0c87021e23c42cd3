"""Using a trained model on image files."""
