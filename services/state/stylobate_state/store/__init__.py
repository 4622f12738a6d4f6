"""What keeps state objects: the port, and its adapters."""
