"""Semantic segmentation: a class for each pixel.

`mask2former` and `hub` are the backends: where a network comes from. What their networks predict,
`expert` and `semantic` turn into labels.
"""
