"""How a pair becomes a flow: where it begins, the plan and the tiles it is computed by, and the steps around the network."""
