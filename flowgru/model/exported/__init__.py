"""A network as one file for other runtimes: what is traced, how it is written, and how it is run here."""
