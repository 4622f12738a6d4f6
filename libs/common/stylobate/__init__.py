"""The common library of Stylobate: what every service and every module author imports."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("stylobate")
except PackageNotFoundError:  # imported from a tree that was never installed
    __version__ = "0.0.0"
