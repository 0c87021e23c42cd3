"""Backends of the modality `edge`."""
