"""What the scripts share: training, evaluation, checkpoints, inference, figures and the web demo."""
