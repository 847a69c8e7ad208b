"""A run on the disk: its checkpoints, what they must hold, and which of them it goes on from."""
