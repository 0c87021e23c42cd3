"""Fetching what is released: from the hub, from GitHub, checked by size and hash."""
