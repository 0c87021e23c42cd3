"""The embedded miniature's files, and what is measured with it."""
