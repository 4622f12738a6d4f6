"""realtime.yaml: namespaces of channels and who may subscribe and publish."""

import re

from stylobate.declarations.context import ModuleContext
from stylobate.declarations.document import Node
from stylobate.declarations.model import ChannelDeclaration
from stylobate.declarations.rules import AUTHENTICATED, PUBLIC
from stylobate.declarations.section import Section

FILE = "realtime.yaml"
SUBSCRIBERS = "subscribers"
_STATE = "state:"
KEYS = ("namespaces",)
CHANNEL_KEYS = ("access", "presence", "join_leave")
_CHANNEL_LATER = (
    "channel_regex", "delta", "force_push_join_leave", "force_recovery", "history", "history_size", "history_ttl", "rate_limit",
    "recovery", "rpc",
)  # fmt: skip
ACCESS_KEYS = ("subscribe", "publish")
_ACCESS_LATER = ("history", "presence")
_NAME = re.compile(r"[-a-zA-Z0-9_]{2,}")


def read_channels(node: Node, module: ModuleContext) -> tuple[ChannelDeclaration, ...]:
    """Read the channel namespaces; what is wrong stands in the report."""
    section = Section(node, module.report.of(FILE), FILE, KEYS)
    return tuple(_channel(name, line, child, module) for name, line, child in section.entries("namespaces"))


def _channel(name: str, line: int, node: Node, module: ModuleContext) -> ChannelDeclaration:
    file = module.report.of(FILE)
    if name and not _NAME.fullmatch(name):
        file.error(line, f"{name!r} is not a valid name for a channel namespace; use two or more letters, digits, _ and -")
    section = Section(node, file, f"channels {name or 'without a namespace'}", CHANNEL_KEYS, _CHANNEL_LATER)
    access = section.section("access", ACCESS_KEYS, _ACCESS_LATER)
    return ChannelDeclaration(
        name=name,
        module=module.name,
        subscribe=_subscribe(access, module),
        publish=_publish(access, module),
        presence=section.flag("presence"),
        join_leave=section.flag("join_leave"),
        file=file.file,
        line=line,
    )


def _subscribe(access: Section, module: ModuleContext) -> str:
    text = access.text("subscribe").strip()
    if not text.startswith(_STATE):
        return str(module.rule(access, "subscribe", (PUBLIC, AUTHENTICATED)) or "")
    namespace = text.removeprefix(_STATE)
    if " " in text or not namespace:
        access.error("subscribe", "`state:<namespace>` stands alone: who may read the object may subscribe")
        return ""
    module.report.namespaces.append(access.report.reference(namespace, access.line_of("subscribe")))
    return text


def _publish(access: Section, module: ModuleContext) -> str:
    text = access.text("publish").strip()
    return text if text == SUBSCRIBERS else str(module.rule(access, "publish", (PUBLIC, AUTHENTICATED)) or "")
