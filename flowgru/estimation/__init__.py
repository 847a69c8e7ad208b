"""From frames to flow: the way of a pair, the stream of pairs, tiles, and the clips and files of `flowgru estimate`."""
