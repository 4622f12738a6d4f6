"""An action bound to its handler: everything that is decided once, at load, so that a call only runs it."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from stylobate.declarations.compiled import CompiledSchema
from stylobate.declarations.model import ActionDeclaration, JsonSchema
from stylobate.errors import MalformedJsonError, Violation
from stylobate.modules.base import BaseModule
from stylobate.modules.errors import ActionInputInvalidError, OutputInvalidError
from stylobate.modules.payload import encode
from stylobate.modules.signature import HandlerSignature
from stylobate.strict_json import JsonMalformedError, JsonRefusedError, loads

_NO_INPUT: tuple[Any, ...] = (None, {})


class BoundAction:
    """A declared action with its handler, compiled schemas and conversions."""

    def __init__(self, declaration: ActionDeclaration, module: BaseModule, signature: HandlerSignature) -> None:
        """Compile. Raises ValueError for an invalid schema."""
        self.declaration = declaration
        self.name = declaration.name
        self.module = module
        self.input_schema: JsonSchema | None = declaration.input or signature.input.schema
        """Declared, else derived from the annotation; None: the action takes anything, or nothing (see `takes_input`)."""
        self.output_schema: JsonSchema | None = declaration.output or signature.output.schema
        self.takes_input = signature.takes_input
        self._handler: Callable[..., Awaitable[Any]] = getattr(module, declaration.handler)
        self._input = _compiled(self.input_schema)
        self._output = _compiled(self.output_schema)
        self._convert = signature.input.convert
        self._dump = signature.output.dump

    def parse(self, payload: bytes) -> Any:
        """Return the input as the handler takes it; no bytes stand for ``null``.

        Raises MalformedJsonError, or ActionInputInvalidError with one violation per finding.
        """
        try:
            value = loads(payload) if payload else None
        except JsonMalformedError as error:
            raise MalformedJsonError(metadata={"line": str(error.line), "column": str(error.column)}) from None
        except JsonRefusedError as error:
            raise ActionInputInvalidError(violations=[error.violation]) from None
        if self._input is not None:
            if not self._input.is_valid(value):
                raise ActionInputInvalidError(violations=self._input.violations(value))
        elif not self.takes_input and value not in _NO_INPUT:
            raise ActionInputInvalidError(violations=[Violation("", "this action takes no input")])
        return value if self._convert is None else self._convert(value)

    def run(self, context: Any, value: Any) -> Awaitable[Any]:
        """Call the handler with what :meth:`parse` returned."""
        return self._handler(context, value) if self.takes_input else self._handler(context)

    def encode(self, output: Any) -> bytes:
        """Return the handler's output as JSON. Raises OutputInvalidError when it is not what the action promises."""
        try:
            payload = encode(output if self._dump is None else self._dump(output))
        except (TypeError, ValueError) as error:
            raise OutputInvalidError(f"{self.name} returned what has no JSON form: {error}") from error
        if self._output is not None:
            value = orjson.loads(payload)  # what is checked is what leaves; it was written by our own rules
            if not self._output.is_valid(value):
                raise OutputInvalidError(f"{self.name} returned what its output schema refuses", self._output.violations(value))
        return payload


def _compiled(schema: JsonSchema | None) -> CompiledSchema | None:
    return CompiledSchema(schema) if schema is not None else None
