"""How a model is prepared for one process or many."""
