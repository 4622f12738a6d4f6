"""What an action is done to: `state/orders/{order_id}`, with a member of its input."""

import re
from dataclasses import dataclass
from typing import Self

from stylobate.identity.resources import resource_fault
from stylobate.strict_json import JsonMalformedError, JsonRefusedError, loads

PATTERN = r"^[a-z][a-z0-9_-]*/([^/{}]+/)*\{[A-Za-z_][A-Za-z0-9_]*\}$"
_FORM = re.compile(r"(?P<prefix>[a-z][a-z0-9_-]*/(?:[^/{}]+/)*)\{(?P<member>[A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class ActionResource:
    """The resource of a call."""

    prefix: str
    """``state/orders/``"""
    member: str
    """``order_id``: of the input, a string."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the form of a declaration. Raises ValueError with a sentence for its author."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} does not end with a member of the input; write `state/orders/{{order_id}}`")
        if fault := resource_fault(f"{found['prefix']}x"):
            raise ValueError(f"{text!r} {fault}")
        return cls(found["prefix"], found["member"])

    def of(self, payload: bytes) -> str:
        """Return the resource of a call with this input; empty where the input names none."""
        try:
            found = loads(payload)
        except (JsonMalformedError, JsonRefusedError):
            return ""
        name = found.get(self.member) if isinstance(found, dict) else None
        if not isinstance(name, str) or not name or "/" in name or resource_fault(self.prefix + name):
            return ""
        return self.prefix + name

    def __str__(self) -> str:
        """Return it as it is declared."""
        return f"{self.prefix}{{{self.member}}}"
