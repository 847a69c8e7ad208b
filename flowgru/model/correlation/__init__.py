"""How well two pictures match where the flow points: one contract, several ways to compute it."""
