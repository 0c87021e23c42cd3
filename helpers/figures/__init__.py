"""Pictures of labels, captions and attribution, and reports of many images."""
