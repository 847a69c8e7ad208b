"""Processes of one's own: how they are asked to stop, and work that is done in several of them."""
