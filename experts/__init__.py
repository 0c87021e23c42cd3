"""Experts turn images into labels: `base` says what an expert is, `registry` which there are,
`runner` labels a data set with them, `generate*.py` are its commands."""
