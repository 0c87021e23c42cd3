"""How fast it is: one script a question; each times the plain way and ours in one run."""
