"""Processes of one's own: how they are asked to stop, work that is done in several of them, and what they compute on."""
