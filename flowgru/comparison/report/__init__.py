"""The report of a comparison: one page and one table, made from its measurements alone."""
