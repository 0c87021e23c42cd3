"""Samples: lists, images, expert labels, joint transforms, text, collation.

Start at `captions.py`. A sample leaves a worker as bytes; the device scales it (`model/inputs.py`).
"""
