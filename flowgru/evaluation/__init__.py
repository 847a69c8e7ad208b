"""What train, evaluate and compare measure with."""
