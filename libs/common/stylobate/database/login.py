"""Who we are at a database: its URL, whose user and password may be exchanged while connections are made with it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from stylobate.config import ConfigError
from stylobate.database.address import hosts
from stylobate.database.refusal import URL

C = TypeVar("C")
REFUSED = asyncpg.InvalidAuthorizationSpecificationError
"""Class 28: the server answers, and does not let this user in with this password."""
_PATIENCE_S = 1.0
"""For another password, which is on its way when one is refused that held until now. Less than callers wait for a connection."""


class Login:
    """The URL in use, and the one before or after it: passwords are exchanged at the server and here, never at the same moment.

    :param refused: is called when the server refuses all of them; somebody may know another.
    :param refusal: what connecting raises then.
    """

    def __init__(
        self,
        url: str,
        *,
        setting: str = URL,
        refused: Callable[[], None] = lambda: None,
        refusal: type[Exception] = REFUSED,
    ) -> None:
        self._urls = [url]
        self._setting = setting
        self._refused = refused
        self._refusal = refusal
        self._offered = asyncio.Event()

    @property
    def url(self) -> str:
        """The one that let us in last."""
        return self._urls[0]

    async def connect(self, connect: Callable[[str], Awaitable[C]]) -> C:
        """Connect with the first URL that the server lets in. Raises what the connecting raises."""
        offered, tried = self._offered, self._urls
        try:
            return await self._connect(connect, tried)
        except self._refusal:
            self._refused()
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_S):  # connecting has limits of its own: a password alone takes 10 ms of work
                    await offered.wait()
            if self._urls == tried:
                raise
            return await self._connect(connect, sorted(self._urls, key=tried.__contains__))

    async def _connect(self, connect: Callable[[str], Awaitable[C]], urls: list[str]) -> C:
        *others, last = urls  # as they were: another may be offered, and change their order, while one is tried
        for url in others:
            try:
                return await connect(url)
            except self._refusal:
                continue
        connection = await connect(last)
        if last is not self._urls[0]:
            self._urls = [last, *(url for url in self._urls if url != last)]
        return connection

    async def use(self, url: str, look: Callable[[str], Awaitable[None]]) -> bool:
        """Take another URL; return whether it is another user's.

        One that is refused is kept in mind: the server may take it soon.

        :param look: connects and closes again.
        :raises ConfigError: it is refused, or leads elsewhere, which a running service does not follow.
        """
        before = self._urls[0]
        if _place(url) != _place(before):
            raise ConfigError([f"{self._setting}: only user and password change while the service runs; restart it"])
        self._urls = [before, url]
        self._offered.set()
        self._offered = asyncio.Event()
        try:
            await look(url)
        except self._refusal as error:
            raise ConfigError([f"{self._setting}: database {hosts(url)}: {error.args[0]}"]) from None
        self._urls = [url, before]
        return urlsplit(url).username != urlsplit(before).username


def _place(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
