"""Training a model: settings, the run, the trainer, its checkpoints, several processes."""
