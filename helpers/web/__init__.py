"""The web demo: what its page shows, and whose it is."""
