"""``action``: declares a method of a module as an action, as ``actions.yaml`` does."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from stylobate.declarations.actions_file import read_action
from stylobate.declarations.context import ModuleContext
from stylobate.declarations.document import Node
from stylobate.declarations.model import ActionDeclaration, ModuleDeclaration
from stylobate.declarations.report import ModuleReport
from stylobate.declarations.schemas import SchemaSet
from stylobate.modules.base import BaseModule
from stylobate.modules.signature import line_of

Method = TypeVar("Method", bound=Callable[..., Any])

FILE = "module.py"
_MARK = "__stylobate_action__"


def action(
    *,
    access: str,
    route: str | None = None,
    rate_limit: str | None = None,
    timeout: str | None = None,
    summary: str | None = None,
) -> Callable[[Method], Method]:
    """Serve the method, ``async def name(self, ctx: ActionContext, input) -> output``, as the action ``<module>.<name>``.

    The values mean what they mean in ``actions.yaml`` and are checked by the same rules; a wrong one is a finding at the method.
    The annotations give the schemas of input and output.

    :param access: one permission, ``authenticated`` or ``public``.
    :param route: such as ``POST /orders``; None: only ``POST /v1/actions/<module>.<name>``.
    :param rate_limit: per caller, such as ``30/minute``; None: no limit.
    :param timeout: such as ``500ms``; None: ``5s``.
    :param summary: for people; None: the first line of the docstring.
    """
    keys = {"access": access, "route": route, "rate_limit": rate_limit, "timeout": timeout, "summary": summary}
    said = {key: value for key, value in keys.items() if value is not None}

    def mark(method: Method) -> Method:
        setattr(method, _MARK, said)
        return method

    return mark


def read_decorated(declaration: ModuleDeclaration, owner: type[BaseModule], report: ModuleReport) -> Iterator[ActionDeclaration]:
    """Yield the actions that the class declares; what is wrong with them stands in the report.

    :param declaration: what the module's files say.
    """
    file = report.of(FILE)
    module = ModuleContext(declaration.name, SchemaSet(declaration.name, Node({}, 0), file), report)
    handlers = {known.handler: known for known in declaration.actions}
    for name in dir(owner):
        method = getattr(owner, name, None)
        said: dict[str, str] | None = getattr(method, _MARK, None)
        if said is None:
            continue
        line = line_of(owner, name)
        if (known := handlers.get(name)) is not None:
            file.error(line, f"{name} handles {known.name}, declared in {known.file}:{known.line}; declare it there or here")
            continue
        values = {"summary": (inspect.getdoc(method) or "").partition("\n")[0].rstrip(".")} | said | {"handler": name}
        node = Node({key: Node(value, line) for key, value in values.items()}, line, dict.fromkeys(values, line))
        yield read_action(f"{declaration.name}.{name}", line, node, module, file)
