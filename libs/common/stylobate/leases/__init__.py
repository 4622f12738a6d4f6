"""Leases with fencing: of many processes one does a piece of work, and its writes can be told from a late predecessor's."""

from stylobate.leases.manager import Lease, LeaseManager

__all__ = ["Lease", "LeaseManager"]
