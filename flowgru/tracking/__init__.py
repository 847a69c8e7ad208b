"""Points followed over many frames, by chains of flows over one and several frames."""
