"""The JSON shapes of the gateway's routes."""
