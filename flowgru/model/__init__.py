"""The network around the update operator, and its weights."""
