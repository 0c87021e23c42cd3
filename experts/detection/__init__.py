"""Object detection: boxes of 722 classes, and the map of their visible parts."""
