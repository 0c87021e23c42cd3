"""Checkpoints from which a run goes on to the bit."""
