"""The process: which services it hosts, what they share, how it starts, drains and stops."""

from stylobate.app.host import Host
from stylobate.app.manager import AppManager
from stylobate.app.placement import Placement
from stylobate.app.settings import HostSettings
from stylobate.app.spec import ServiceSpec, installed_services

__all__ = ["AppManager", "Host", "HostSettings", "Placement", "ServiceSpec", "installed_services"]
