"""The layers of a generated pair: how they are cut out, where they lie and how they move."""
