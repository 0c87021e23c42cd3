"""Experts turn images into labels: `base` is their interface, `registry` lists them, `runner` labels a data set,
and `generate*.py` are the commands."""
