"""GPUs: their energy counters, who holds them, who used them; one module per vendor's driver."""
