"""Pictures of labels, captions and evidence."""
