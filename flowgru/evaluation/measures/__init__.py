"""What `flowgru evaluate` measures besides the errors: under corruptions, of trust, over time, by reach, and in seconds."""
