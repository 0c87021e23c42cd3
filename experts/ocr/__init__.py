"""Text: where words are, what they say, and their CLIP embedding. `charnet` is the backend of the paper."""
