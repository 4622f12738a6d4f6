"""What is wrong with the settings of this process, found before anything starts."""

from collections.abc import Mapping

from stylobate.app import HostSettings
from stylobate.config import ConfigError, Settings, Sources
from stylobate.database.address import is_mongodb
from stylobate.launcher.project import services_here
from stylobate.services import installed_services

_PREFIX = "STYLOBATE_"
_OF_THE_LAUNCHER = (
    "STYLOBATE_LISTEN",
    "STYLOBATE_SERVICES",
    "STYLOBATE_GRPC_PORT",
    "STYLOBATE_HTTP_PORT",
    "STYLOBATE_ADMIN_PORT",
    "STYLOBATE_LOG_FILE",
)


def findings(sources: Sources) -> list[str]:
    """Return what is wrong with any service's settings, each finding once."""
    found: dict[str, None] = {}
    for kind in settings_here().values():
        try:
            url = getattr(kind.load(sources), "database_url", "")
            if is_mongodb(url):
                from stylobate.database.mongodb.manager import client_of  # noqa: PLC0415  its driver, for whoever has one

                client_of(url, "stylobate-check")  # which connects nowhere until it is asked
        except ConfigError as error:
            found |= dict.fromkeys(error.findings)
    return list(found)


def unknown(environ: Mapping[str, str]) -> list[str]:
    """Return a line for each variable that looks like a setting but is not: a mistyped name would be ignored otherwise."""
    services = [spec.settings for spec in installed_services().values()]
    known = set(_OF_THE_LAUNCHER) | {f"STYLOBATE_{name}".upper() for name in HostSettings.model_fields}
    known |= {f"STYLOBATE_{kind.service}_{name}".upper() for kind in services for name in kind.model_fields}
    known |= {f"STYLOBATE_{kind.service}_ADDRESS".upper() for kind in services}
    lines = []
    for name in sorted(environ):
        if name.startswith(_PREFIX) and name not in known and not name.startswith("STYLOBATE_MODULE_"):
            from difflib import get_close_matches  # noqa: PLC0415  where one is mistyped

            near = get_close_matches(name.removeprefix(_PREFIX), (other.removeprefix(_PREFIX) for other in known), n=1)
            lines.append(f"{name} is not a setting" + (f"; did you mean {_PREFIX}{near[0]}?" if near else ""))
    return lines


def settings_here() -> dict[str, type[Settings]]:
    """Return the settings of all processes and of each service here."""
    return {"(all)": HostSettings} | {name: spec.settings for name, spec in services_here().items()}
