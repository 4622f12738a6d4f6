"""Tests that share one platform: pytest ends it with the last of them."""
