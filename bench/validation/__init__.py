"""What the GPU chapter of the design takes for granted, each point as a check that a machine with a GPU can answer."""
