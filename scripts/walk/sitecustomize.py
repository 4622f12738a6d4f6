"""Notes each function of Stylobate that a process enters, with the time, in the file ``WALK_NOTES``.

Python imports this file in each process whose ``PYTHONPATH`` leads here; see ``scripts/measure.py``.
"""

import os
import sys
from time import monotonic_ns
from types import CodeType, FrameType
from typing import Any

_names: dict[CodeType, bytes] = {}
_notes = os.open(os.environ["WALK_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def _name(code: CodeType) -> bytes:
    """Return ``path function`` of a function in one of our packages, or nothing for any other."""
    _, found, path = code.co_filename.rpartition("/stylobate")
    is_part = code.co_qualname.endswith(("<module>", "<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>"))
    return b"" if not found or is_part else f"stylobate{path} {code.co_qualname}\n".encode()


def _note(frame: FrameType, event: str, _argument: Any) -> None:
    if event == "call":
        name = _names.get(frame.f_code)
        if name is None:
            name = _names[frame.f_code] = _name(frame.f_code)
        if name:
            os.write(_notes, b"%d %b" % (monotonic_ns(), name))


sys.setprofile(_note)
