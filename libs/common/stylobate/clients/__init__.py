"""Clients of services that others use: each over a channel, wherever the service runs."""
