"""Semantic segmentation: a class for each pixel. `mask2former` and `hub` are the backends."""
