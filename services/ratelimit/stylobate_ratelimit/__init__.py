"""The ratelimit service: exact limits across processes, many checks in one step."""
