"""Generated pairs that are painted many at once, by few operations; what is drawn of each is what a single pair has."""
