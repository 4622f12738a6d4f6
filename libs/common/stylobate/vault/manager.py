"""The Vault of a process: its login kept alive, its values looked at again, those who use them told, health."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import TypeVar

from stylobate.health import Health, Status
from stylobate.logs import get_logger
from stylobate.resilience import Interruption, backoff
from stylobate.stopping import end, goes_on
from stylobate.telemetry import gauge
from stylobate.vault.client import VaultClient
from stylobate.vault.errors import VaultError, VaultUnavailableError
from stylobate.vault.options import VaultOptions
from stylobate.vault.secrets import VaultSecrets

R = TypeVar("R")
_LONGEST_PAUSE_S = 2.0
"""Between two tries while Vault is away."""
_SOON_S = 0.2
_log = get_logger("app")


class VaultManager:
    """Vault while a process runs. Being without it is degraded: what was read is used on.

    Made before there is a loop, for settings come first; :meth:`open` keeps it current from then on.

    :attr:`secrets` is the store of settings; who wants to hear of changes says so with :meth:`on_change`.
    """

    def __init__(self, options: VaultOptions, clock: Callable[[], float] = monotonic) -> None:
        """Ask nothing yet. Raises ConfigError where `hvac` is not installed."""
        self.options = options
        self._client = VaultClient(options, clock)
        self.secrets = VaultSecrets(self._client)
        self._clock = clock
        self._read_at = clock()
        self._problem = ""
        self._hearers: list[Callable[[], Awaitable[str]]] = []
        self._untold = ""
        self._look_now = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vault")
        self._away = Interruption("vault_away", clock)
        gauge("vault_age_seconds", "Since Vault was last asked with success.").set_function(lambda: self.age_s)
        gauge("vault_token_seconds", "How long the login to Vault holds.").set_function(lambda: self._client.token_left_s)

    @property
    def age_s(self) -> float:
        """Seconds since everything was last read."""
        return self._clock() - self._read_at

    @asynccontextmanager
    async def open(self) -> AsyncIterator["VaultManager"]:
        """Keep the login and the values current for as long as the block."""
        if self.secrets.problem:
            self._problem = self.secrets.problem
            self._away.note(problem=self._problem)
        running = asyncio.get_running_loop().create_task(self._run(), name="vault")
        try:
            yield self
        finally:
            await end((running,))
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._client.close()

    def on_change(self, hearer: Callable[[], Awaitable[str]]) -> None:
        """Have it called when a value is another one; it returns what could not be taken and is to be tried again, or nothing."""
        self._hearers.append(hearer)

    def look_soon(self) -> None:
        """Look now, not when it is time: somebody was refused with a secret that Vault may have exchanged."""
        for user in tuple(self.secrets.database_users.values()):
            user.doubt()
        self._look_now.set()

    async def ask(self, question: Callable[[VaultClient], R]) -> R:
        """Ask for something else than settings: in the one thread in which all is asked. Raises VaultError."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, question, self._client)
        except RuntimeError as error:  # the thread has ended
            raise VaultUnavailableError(f"{self.options.address} is not asked any more: this process stops") from error

    async def health(self) -> Health:
        """Say whether the values are current; asks nobody."""
        found = [self._problem and f"{self._problem}; values are {self.age_s:.0f} s old"]
        found += [f"{place} is gone; its last known value is used" for place in self.secrets.gone]
        found.append(self._untold)
        details = "; ".join(text for text in found if text)
        users = tuple(self.secrets.database_users.values())
        metrics = {"age_s": round(self.age_s, 1), "values": float(self.secrets.values)}
        for name, left in (
            ("token_left_s", self._client.token_left_s),
            ("database_user_left_s", min((user.left_s for user in users), default=float("inf"))),
        ):
            metrics |= {name: round(left, 1)} if left != float("inf") else {}
        return Health(Status.DEGRADED if details else Status.HEALTHY, details, metrics)

    async def _run(self) -> None:
        waits = backoff(initial=_SOON_S, maximum=_LONGEST_PAUSE_S)
        while goes_on():
            await self._pause(next(waits) if self._problem else self._until_due())
            try:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._look)
            except VaultError as error:
                self._problem = str(error)
                self._away.note(problem=self._problem)
            else:
                if self._away.over():
                    _log.info("vault_back", address=self.options.address)
                self._problem, self._read_at = "", self._clock()
                waits = backoff(initial=_SOON_S, maximum=_LONGEST_PAUSE_S)
            # one path may be refused, and what stands at the others has changed
            if self.secrets.has_changed() or (self._untold and not self._problem):
                await self._tell()

    def _look(self) -> None:
        self._client.keep_login()
        self.secrets.look()

    async def _tell(self) -> None:
        """Tell everybody that values are other ones."""
        answers = await asyncio.gather(*(hearer() for hearer in self._hearers), return_exceptions=True)
        said = []
        for answer in answers:
            if isinstance(answer, BaseException):
                _log.error("vault_change_failed", exc_info=answer)
                said.append(f"a change was not taken ({type(answer).__name__})")
            else:
                said.append(answer)
        self._untold = "; ".join(dict.fromkeys(text for text in said if text))

    def _until_due(self) -> float:
        regular = self.options.refresh.total_seconds() * random.uniform(0.8, 1.0)  # noqa: S311  processes look at different times
        due = (user.due_in_s for user in tuple(self.secrets.database_users.values()))
        return max(_SOON_S, min(regular, self._client.renewal_in_s, *due))

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._look_now.wait()
        self._look_now.clear()
