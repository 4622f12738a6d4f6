"""The auth service: accounts, sessions, tokens, revocations, permissions."""
