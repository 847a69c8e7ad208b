"""Pictures and flows as files, one format a file."""
