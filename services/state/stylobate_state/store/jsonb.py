"""What PostgreSQL's ``jsonb`` makes of a document, for the store in memory: so a test sees what production answers."""

import json
from decimal import Decimal
from typing import Any

from stylobate.strict_json import compact_numbers


def as_jsonb(document: bytes) -> bytes:
    """Return the document as it is read from the database.

    The last of members that stand twice stays, numbers keep their digits and are written out. Only the order of members is as
    sent. Raises ValueError for what is not JSON.
    """
    return compact_numbers(_text(json.loads(document, parse_int=Decimal, parse_float=Decimal)).encode())


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(name)}: {_text(member)}" for name, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return json.dumps(value, ensure_ascii=False)
