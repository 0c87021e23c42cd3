"""Preparing a model for one process or many."""
