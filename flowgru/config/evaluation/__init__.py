"""The settings of `flowgru evaluate`, and of what measures a training."""
