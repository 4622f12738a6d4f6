"""Hooks of schemathesis: what JSON Schema has no word for is neither sent as right nor as wrong."""

from typing import Any

import orjson
import schemathesis
from stylobate import strict_json


@schemathesis.hook
def filter_body(context: Any, body: Any) -> bool:
    """Leave out what no part of the platform carries, such as integers beyond 64 bits: others test that it is refused."""
    try:
        strict_json.dumps(body)
    except (TypeError, ValueError, orjson.JSONEncodeError):
        return not isinstance(body, dict | list | str | int | float)
    return True


@schemathesis.hook
def filter_path_parameters(context: Any, path_parameters: Any) -> bool:
    """Leave out keys beyond ASCII: the document promises less than is taken."""
    key = path_parameters.get("key", "") if path_parameters else ""
    return not isinstance(key, str) or key.isascii()


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Leave out a condition of a wrong type where the rest is right: the generator takes it for right."""
    return all(str((case.headers or {}).get(name, '"1"')) != "0" for name in ("If-Match", "If-None-Match"))
