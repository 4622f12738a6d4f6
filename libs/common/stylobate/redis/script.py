"""A Lua script that the server knows by its hash."""

import hashlib
from importlib.resources import files
from typing import Self


class Script:
    """The text of a script and its hash (SHA-1, as EVALSHA has it)."""

    __slots__ = ("hears_run_id", "name", "sha", "text")

    def __init__(self, text: str, name: str = "script", *, hears_run_id: bool = False) -> None:
        """Take the text.

        :param hears_run_id: its last argument is the ``run_id`` of the server that it runs in, another after each start of it;
            empty where the server does not tell.
        """
        self.hears_run_id = hears_run_id
        self.name = name
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    @classmethod
    def of(cls, package: str, file: str, *, hears_run_id: bool = False) -> Self:
        """Read a script that stands beside the code of a package, such as ``("stylobate_ratelimit.store", "check.lua")``."""
        return cls((files(package) / file).read_text(encoding="utf-8"), file, hears_run_id=hears_run_id)
