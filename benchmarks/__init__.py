"""How fast it is: a script a question, each times the plain way and ours in one run (docs/performance.md)."""
