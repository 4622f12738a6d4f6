"""The gateway: HTTP in, gRPC out. It keeps nothing."""
