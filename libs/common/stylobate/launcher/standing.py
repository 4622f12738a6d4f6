"""How the running platform is: what its admin listener says, in words."""

from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any

import orjson

from stylobate.discovery.names import TOLD
from stylobate.launcher.output import CommandError
from stylobate.launcher.project import RunRecord


def ask_elsewhere(admin: str) -> dict[str, Any]:
    """Return what a process says. Raises CommandError when it does not answer."""
    try:
        return {"running": True, "endpoints": {"admin": f"http://{admin}"}} | _get(admin)
    except (OSError, HTTPException, ValueError) as error:
        raise CommandError(f"--admin: {admin} does not answer ({error})") from None


def ask(running: RunRecord | None) -> dict[str, Any]:
    """Return ``{running, ready, mode, endpoints, …}`` with the admin listener's answer; None: nothing runs."""
    if running is None:
        return {"running": False, "ready": False}
    base = {"running": True, "pid": running.supervisor.pid, "mode": running.mode, "endpoints": running.endpoints}
    base["children"] = [{"name": child.name, "pid": child.pid} for child in running.children]
    try:
        said = _get(running.endpoints["admin"].removeprefix("http://"))
    except (OSError, HTTPException, ValueError):
        return base | {"ready": False, "status": "unhealthy", "phase": "starting"}
    return base | said


def _get(address: str) -> dict[str, Any]:
    """Return what the admin listener says: without an HTTP client's imports, which take longer than the answer."""
    connection = HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/status")
        said: dict[str, Any] = orjson.loads(connection.getresponse().read())
    finally:
        connection.close()
    return said


def standing(answer: Mapping[str, Any]) -> str:
    """Return how it is as a whole: services may be healthy where something that they share is not."""
    if not answer["ready"]:
        return "not ready"
    return "ready" if answer["status"] == "healthy" else f"ready, but {answer['status']}"


def left_out(answer: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the modules that do not run in some process, with the findings that say why."""
    found: dict[str, list[str]] = {}
    for said in (answer, *answer.get("processes", {}).values()):
        for name, findings in said.get("modules", {}).get("left_out", {}).items():
            found[name] = list(dict.fromkeys([*found.get(name, ()), *findings]))
    return found


def found_by(answer: Mapping[str, Any]) -> list[str]:
    """Return who was found where and how, a line for each service that some process calls elsewhere and looks up."""
    lines: dict[str, None] = {}
    for said in (answer, *answer.get("processes", {}).values()):
        for service, found in said.get("discovery", {}).get("found", {}).items():
            weights = found["addresses"]
            if found["how"] == TOLD:
                continue
            places = [place if len(set(weights.values())) == 1 else f"{place} x{weight}" for place, weight in weights.items()]
            nowhere = "no address is known yet" if found["trouble"] else "nobody has looked yet"
            lines[f"{service} found by {found['how']}: {', '.join(places) or nowhere}"] = None
    return list(lines)


def _differences(answer: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the declarations: findings, and processes that loaded different ones."""
    declarations = [
        answer.get("declarations", {}),
        *(said.get("declarations", {}) for said in answer.get("processes", {}).values()),
    ]
    said = {finding for findings in left_out(answer).values() for finding in findings}
    lines = dict.fromkeys(line for found in declarations for line in found.get("findings", ()) if line not in said)
    if not answer.get("declarations", {}).get("same", True):
        lines["the processes loaded different declarations; restart them on the same modules"] = None
    return list(lines)


def complaints_of(answer: Mapping[str, Any]) -> list[str]:
    """Return what is wrong beside the services, a line each: modules left out with their findings, declarations, limits, bans."""
    lines = []
    for name, findings in left_out(answer).items():
        lines += [f"the module {name} is left out", *findings]
    asked = (answer, *answer.get("processes", {}).values())
    parts = [said.get(part, {}) for said in asked for part in ("identity", "bans", "limits", "discovery", "vault")]
    parts += [health for said in asked for health in said.get("redis", ())]
    ill = [health["details"] for health in parts if health.get("details")]
    return [*lines, *_differences(answer), *dict.fromkeys(ill)]
