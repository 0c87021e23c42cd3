"""Predicting a test set, scoring the predictions and writing result files."""
