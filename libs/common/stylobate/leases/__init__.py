"""Leases with fencing: of many processes one does a piece of work, and its writes can be told from a late predecessor's."""

from stylobate.leases.manager import Lease, LeaseManager
from stylobate.leases.port import LeaseStore

__all__ = ["Lease", "LeaseManager", "LeaseStore"]
