"""Routes that FastAPI reads when they are first needed."""

import warnings
from collections.abc import Callable
from typing import Any

from fastapi.routing import APIRoute
from pydantic.warnings import UnsupportedFieldAttributeWarning
from starlette.routing import compile_path, get_name

_READ = frozenset({*APIRoute.__annotations__, "app", "form_limits"})
"""What FastAPI finds out of a route, and keeps in it."""


class LateRoute(APIRoute):
    """Knows from the start what it is found by; FastAPI's reading of its code is done when something else of it is asked for.

    That takes a millisecond or two, and some memory, and most of the eighty routes are never asked for in a process.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **described: Any) -> None:
        """Take what FastAPI's routes take."""
        self._described: dict[str, Any] | None = described
        self.path, self.endpoint = path, endpoint
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)
        self.name = described.get("name") or get_name(endpoint)
        self.methods = {method.upper() for method in described.get("methods") or ("GET",)}

    def __getattr__(self, name: str) -> Any:
        """Let FastAPI read the route. What it refuses is raised each time."""
        described = vars(self).get("_described")
        if described is None or name not in _READ:
            raise AttributeError(name)
        known = dict(vars(self))
        self._described = None  # while it reads, what it has not set yet is not there
        try:
            self._read(described)
        except BaseException:
            self.__dict__ = known
            raise
        return getattr(self, name)

    def _read(self, described: dict[str, Any]) -> None:
        super().__init__(self.path, self.endpoint, **described)
        fields = (*self.dependant.body_params, self.body_field, self.response_field, *self.response_fields.values())
        with warnings.catch_warnings():
            # FastAPI ignores it where it makes them; those of models that are built late are made with their first value, else
            warnings.simplefilter("ignore", UnsupportedFieldAttributeWarning)
            for field in fields:
                if field is not None:
                    field._type_adapter.rebuild()  # noqa: SLF001
