"""Hooks of schemathesis: what JSON Schema has no word for is neither sent as right nor as wrong."""

import re
from typing import Any
from uuid import uuid4

import orjson
import schemathesis
from stylobate import strict_json
from stylobate.keys import PATTERN, key_fault
from stylobate_gateway.idempotency import FORM, NAME


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
    """Leave out what has the form of a key and is none, such as text that is not normalized: others test that it is refused."""
    key = path_parameters.get("key") if path_parameters else None
    return not isinstance(key, str) or not re.search(PATTERN, key) or key_fault(key) is None


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Put in what cannot be made up, where the form is right: a page token, and a status that the namespace has."""
    known = {"page_token": ("[A-Za-z0-9_=-]{0,4096}", ""), "status": (".{0,128}", "open")}
    for name, (form, value) in known.items():
        if isinstance(given := (case.query or {}).get(name), str) and re.fullmatch(form, given, re.DOTALL):
            case.query[name] = value
    key = (case.headers or {}).get(NAME)
    if isinstance(key, str) and re.fullmatch(FORM["pattern"], key):
        case.headers[NAME] = str(uuid4())  # each request is one of its own; that a key may come once others test


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Leave out a condition of a wrong type where the rest is right: the generator takes it for right."""
    return all(str((case.headers or {}).get(name, '"1"')) != "0" for name in ("If-Match", "If-None-Match"))
