"""``action``: declares a method of a module as an action, as ``actions.yaml`` does."""

import ast
import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
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
    resource: str | None = None,
    route: str | None = None,
    rate_limit: str | None = None,
    timeout: str | None = None,
    idempotent: bool | None = None,
    summary: str | None = None,
) -> Callable[[Method], Method]:
    """Serve the method, ``async def name(self, ctx: ActionContext, input) -> output``, as the action ``<module>.<name>``.

    The values mean what they mean in ``actions.yaml`` and are checked by the same rules; a wrong one is a finding at the method.
    The annotations give the schemas of input and output.

    :param access: one permission, ``authenticated`` or ``public``.
    :param resource: what the permission may be granted on, such as ``state/orders/{order_id}``; None: it is held or not.
    :param route: such as ``POST /orders``; None: only ``POST /v1/actions/<module>.<name>``.
    :param rate_limit: per caller, such as ``30/minute``; None: no limit.
    :param timeout: such as ``500ms``; None: ``5s``.
    :param idempotent: False: calls with an idempotency key are refused, and no answer is kept; None: they are run once.
    :param summary: for people; None: the first line of the docstring.
    """
    keys = {
        "access": access,
        "resource": resource,
        "route": route,
        "rate_limit": rate_limit,
        "timeout": timeout,
        "idempotent": idempotent,
        "summary": summary,
    }
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
    handlers = {known.handler: known for known in declaration.actions}
    for name in dir(owner):
        method = getattr(owner, name, None)
        said: dict[str, Any] | None = getattr(method, _MARK, None)
        if said is None:
            continue
        line = line_of(owner, name)
        if (known := handlers.get(name)) is not None:
            file.error(line, f"{name} handles {known.name}, declared in {known.file}:{known.line}; declare it there or here")
            continue
        summary = (inspect.getdoc(method) or "").partition("\n")[0].rstrip(".")
        yield _declared(declaration.name, name, {"summary": summary} | said, line, report)


def read_written(declaration: ModuleDeclaration) -> Iterator[ActionDeclaration]:
    """Yield the actions of code that does not import, as far as it can be read: so their routes are known to be out of order.

    A decorator is read where all that it says is written out. Code that is not Python tells nothing.
    """
    report = ModuleReport(declaration.folder)  # nobody hears of it: why the module is left out is told
    handlers = {known.handler for known in declaration.actions}
    try:
        written = ast.parse((declaration.folder / FILE).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for owner in (node for node in written.body if isinstance(node, ast.ClassDef)):
        for method in (node for node in owner.body if isinstance(node, ast.AsyncFunctionDef)):
            for mark in method.decorator_list:
                is_action = isinstance(mark, ast.Call) and ast.unparse(mark.func).rpartition(".")[2] == action.__name__
                if isinstance(mark, ast.Call) and is_action and method.name not in handlers:
                    with suppress(ValueError):
                        read = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in mark.keywords}
                        said = {key: value for key, value in read.items() if value is not None}
                        yield _declared(declaration.name, method.name, said, mark.lineno, report)


def _declared(module: str, handler: str, said: dict[str, Any], line: int, report: ModuleReport) -> ActionDeclaration:
    file = report.of(FILE)
    values = said | {"handler": handler}
    node = Node({key: Node(value, line) for key, value in values.items()}, line, dict.fromkeys(values, line))
    context = ModuleContext(module, SchemaSet(module, Node({}, 0), file), report)
    return read_action(f"{module}.{handler}", line, node, context, file)
