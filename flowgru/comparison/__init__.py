"""The parts of `flowgru compare`: what is run, in which processes, and where its results are kept."""
