"""The process: which services it hosts, what they share, how it starts, drains and stops.

What hosts services stands in :mod:`stylobate.app.host` and :mod:`stylobate.app.manager`; commands need what is here only.
"""

from stylobate.app.settings import HostSettings, Placement

__all__ = ["HostSettings", "Placement"]
