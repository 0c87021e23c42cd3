"""Text: the place, the spelling and the CLIP embedding of words."""
