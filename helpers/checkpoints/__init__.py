"""Weights in and out: finding, reading, converting, describing and downloading them."""
