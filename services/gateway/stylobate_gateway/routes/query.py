"""Queries of the platform's own routes: what is not known is refused, not passed over."""

from typing import Any

from fastapi import Depends, Request, params
from fastapi.dependencies.utils import get_flat_params
from stylobate.errors import InvalidInputError, Violation
from stylobate.json_pointer import pointer

from stylobate_gateway.action_input import query_pairs


async def _check(request: Request) -> None:
    query: bytes = request.scope["query_string"]
    if not query:
        return
    fields = get_flat_params(request.scope["route"].dependant)
    known = {field.alias for field in fields if isinstance(field.field_info, params.Query)}
    seen: set[str] = set()
    found: list[Violation] = []
    for name, _ in query_pairs(query):
        if name not in known or name in seen:
            found.append(Violation(pointer([name]), "stands twice" if name in seen else "is not known here"))
        seen.add(name)
    if found:
        raise InvalidInputError(violations=found)


KNOWN_QUERY: Any = Depends(_check)
"""For every route of the API."""
