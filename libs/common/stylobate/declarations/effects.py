"""What is called after a change of status: ``on_enter`` and ``on_exit`` of a namespace, ``do`` of a transition."""

from collections.abc import Collection

from stylobate.declarations.model import EffectDeclaration
from stylobate.declarations.section import Section

MOMENTS = ("on_enter", "on_exit")
DO = "do"


def read_effects(namespace: Section, module: str, statuses: Collection[str]) -> tuple[EffectDeclaration, ...]:
    """Read them; what is wrong stands in the report. Whether the actions are there is seen when the module is loaded."""
    effects: list[EffectDeclaration] = []
    for moment in MOMENTS:
        by_status = namespace.section(moment, statuses)
        for status, _, _ in namespace.entries(moment):
            if status in statuses:
                effects += _of(by_status, status, EffectDeclaration(moment, status, "", 0), module)
    for event, _, node in namespace.entries("transitions"):
        if isinstance(node.value, dict) and DO in node.value:
            transition = Section(node, namespace.report, f"transition {event}", node.value)
            effects += _of(transition, DO, EffectDeclaration(DO, event, "", 0), module)
    return tuple(effects)


def _of(section: Section, key: str, effect: EffectDeclaration, module: str) -> list[EffectDeclaration]:
    named = section.texts(key, or_one=True)
    for action, line in named:
        if not action.startswith(f"{module}."):
            section.report.error(line, f"`{action}` must be an action of this module, `{module}.<name>` ({section.where})")
    return [EffectDeclaration(effect.moment, effect.of, action, line) for action, line in named]
