"""Real servers and small test tools for every test of the repository."""

pytest_plugins = ["stylobate.testing.fixtures"]
