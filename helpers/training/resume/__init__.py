"""Checkpoints of a run, from which training resumes bit for bit."""
