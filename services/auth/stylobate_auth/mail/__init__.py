"""Mail to people with accounts: what it says, how it leaves, and that none is lost."""
