"""Real servers and small test tools for every test of the repository."""

from hypothesis import settings

pytest_plugins = ["stylobate.testing.fixtures"]

settings.register_profile("stylobate", deadline=None)  # how long an example takes says something of the machine only
settings.load_profile("stylobate")
