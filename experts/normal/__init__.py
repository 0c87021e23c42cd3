"""Backends of the modality `normal`."""
