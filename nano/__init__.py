"""The embedded miniature: the Scenes data set, its expert, its tokenizer, its training and its weights."""
