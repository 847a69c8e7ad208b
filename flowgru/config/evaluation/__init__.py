"""The settings of `flowgru evaluate`."""
