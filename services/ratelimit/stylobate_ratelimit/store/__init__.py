"""What counts: the port, and its adapters."""
