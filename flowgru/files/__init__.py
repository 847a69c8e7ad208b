"""Files that are whole or not there, read within bounds, and written by one process at a time."""
