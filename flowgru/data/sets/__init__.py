"""Data sets as they are published: where their pairs lie, whether they are whole, and what a server wants of them."""
