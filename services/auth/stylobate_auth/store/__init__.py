"""What auth keeps: the port, and its adapters."""
