"""Backends of the modality `depth`."""
