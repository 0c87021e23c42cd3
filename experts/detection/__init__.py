"""Object detection: boxes of 722 classes, and the map of what is seen of each object."""
