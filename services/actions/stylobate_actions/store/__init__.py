"""What the actions service keeps: the runs of calls that came with an idempotency key."""
