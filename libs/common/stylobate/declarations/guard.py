"""Guards: conditions of transitions, in CEL (https://cel.dev), compiled once and asked often.

The language sees nothing but the values it is given, and always ends: expressions nest at most 32 deep, their loops go round
at most 10,000 times together, regular expressions are RE2's.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from cel_expr_python import cel

from stylobate.declarations.section import did_you_mean

_TYPES = {
    "data": cel.Type.DYN,
    "event.name": cel.Type.STRING,
    "event.data": cel.Type.DYN,
    "principal.subject": cel.Type.STRING,
    "principal.kind": cel.Type.STRING,
    "principal.tenant": cel.Type.STRING,
    "principal.via": cel.Type.STRING,
    "principal.module": cel.Type.STRING,
    "object.key": cel.Type.STRING,
    "object.status": cel.Type.STRING,
    "object.version": cel.Type.INT,
    "object.owner": cel.Type.STRING,
    "object.created_at": cel.Type.TIMESTAMP,
    "object.updated_at": cel.Type.TIMESTAMP,
    "now": cel.Type.TIMESTAMP,
}
NAMES = tuple(_TYPES)
"""What an expression may speak of; each is to be given when it is asked. JSON's integers are ``int`` (``uint`` above 2^63-1), its
other numbers ``double``."""
_ENVIRONMENT = cel.NewEnv(variables=_TYPES)
_RESULTS = (cel.Type.BOOL, cel.Type.DYN)
_FAULT = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_UNKNOWN = re.compile(r"undeclared reference to '([^']*)'")
_CODE = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")
_STRING = re.compile(r"""r?("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')""")
_MEMBER = re.compile(r"(?<![\w.])data\.([A-Za-z_]\w*)")


@dataclass(frozen=True, slots=True)
class GuardFault:
    """What keeps a text from being a guard."""

    message: str
    line: int = 1
    """Of the expression, from 1."""
    column: int = 1
    """From 1."""


class GuardInvalidError(ValueError):
    """The text is not a guard."""

    def __init__(self, faults: Collection[GuardFault]) -> None:
        super().__init__("; ".join(fault.message for fault in faults))
        self.faults = tuple(faults)


class GuardRaisedError(Exception):
    """The guard came to no answer: a field that is not there, types that do not go together, a number too large."""


class Guard:
    """An expression ready to be asked; that costs about fifteen microseconds for a small object."""

    def __init__(self, text: str, members: Collection[str] | None = None) -> None:
        """Compile.

        :param members: the fields that ``data`` can have; None: any.
        :raises GuardInvalidError: bad syntax, an unknown name, or a result that can never be true or false.
        """
        self.text = text
        try:
            self._expression = _ENVIRONMENT.compile(text)
        except RuntimeError as error:
            raise GuardInvalidError(_faults(str(error))) from None
        kind = self._expression.return_type()
        if kind not in _RESULTS:
            raise GuardInvalidError([GuardFault(f"is {kind.name().lower()}, not true or false")])
        if members is not None and (unknown := _unknown_members(text, members)):
            raise GuardInvalidError(unknown)

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Return what it says of the values, one for each of :data:`NAMES`. Raises GuardRaisedError where it says nothing."""
        try:
            result = self._expression.eval(data=values)
        except RuntimeError as error:  # past a bound; other faults are results
            raise GuardRaisedError(_plain(str(error))) from None
        answer = result.value()
        if answer is True or answer is False:
            return answer
        if result.type() == cel.Type.ERROR:
            raise GuardRaisedError(_plain(str(answer)))
        raise GuardRaisedError(f"is {result.type().name().lower()}, not true or false")


def _faults(report: str) -> list[GuardFault]:
    found = [GuardFault(_said(text), int(line), int(column)) for line, column, text in _FAULT.findall(report)]
    return found or [GuardFault(_plain(report.splitlines()[0]))]


def _plain(report: str) -> str:
    """Return the library's sentence without the codes around it."""
    return _CODE.sub("", report).replace("Key not found in map : ", "there is no field ")


def _said(text: str) -> str:
    if (unknown := _UNKNOWN.match(text)) is not None:
        name = unknown[1]
        return f"knows no `{name}`{did_you_mean(name, NAMES) or '; it may speak of ' + ', '.join(NAMES)}"
    return _plain(text.partition(" expecting {")[0])


def _unknown_members(text: str, members: Collection[str]) -> list[GuardFault]:
    bare = _STRING.sub(lambda literal: " " * len(literal[0]), text)
    faults = []
    for use in _MEMBER.finditer(bare):
        if use[1] not in members:
            line, start = bare.count("\n", 0, use.start()) + 1, bare.rfind("\n", 0, use.start()) + 1
            message = f"the schema of the data has no `{use[1]}`{did_you_mean(use[1], members)}"
            faults.append(GuardFault(message, line, use.start() - start + 1))
    return faults
