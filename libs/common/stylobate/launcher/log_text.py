"""How a log line is shown to a person: time, process, what happened; a traceback as the lines that it has."""

from rich.style import Style
from rich.text import Text

from stylobate.launcher.log_files import LogLine

_GRAVE = {"warning": "yellow", "error": "red", "critical": "bold red"}
_LEFT_OUT = frozenset(
    {"timestamp", "event", "level", "logger", "service", "node", "version", "environment", "trace_id"}
    | {"filename", "lineno", "exception", "stack"}
    | {"method", "path", "status", "ms"}
)
_IDS = frozenset({"request_id", "subject", "client"})
_CLIENT_ERROR, _SERVER_ERROR = 400, 500
_SOURCE_WIDTH = 10


def readable(line: LogLine, *, is_brief: bool = False) -> Text:
    """Return the line for a terminal, several lines when it holds a traceback. Colours are left out where there are none.

    :param is_brief: without the ids of request and caller.
    """
    time = line.time.removesuffix("Z")[11:23]
    text = Text(f"{time:<12}  {line.source:<{_SOURCE_WIDTH}}  ", style="dim")
    if line.facts is None:
        return text.append(line.text, Style.null())
    facts = line.facts
    if facts.get("logger") == "access" and "path" in facts:
        text.append(_request(facts), _status_style(facts))
    else:
        level = str(facts.get("level", ""))
        style = _GRAVE.get(level, "default")
        text.append(f"{level}  " if level in _GRAVE else "", style).append(str(facts["event"]), style)
    for name, value in facts.items():
        if name not in _LEFT_OUT and not (is_brief and name in _IDS) and value is not None and value != "":
            text.append(f"  {name}=", "dim").append(str(value), Style.null())
    for name in ("exception", "stack"):
        if name in facts:
            text.append(f"\n{facts[name]}", "red")
    return text


def _request(facts: dict[str, object]) -> str:
    return f"{facts.get('method')} {facts.get('path')}  {facts.get('status')}  {facts.get('ms')} ms"


def _status_style(facts: dict[str, object]) -> str:
    status = facts.get("status")
    if not isinstance(status, int) or status < _CLIENT_ERROR:
        return "green"
    return "yellow" if status < _SERVER_ERROR else "red"
