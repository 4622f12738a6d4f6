"""Asking a part how it is, without ever waiting for it longer than a second."""

import asyncio

from stylobate.health import Health, HealthCheck, Status

_WITHIN_S = 1.0


class BoundedCheck:
    """One check. While one asking is under way others wait for the same: a part that hangs is asked once, not again and again.

    It is not cancelled: a driver may take long to give up too (a cancelled query asks the server first, which may be frozen).
    """

    def __init__(self, check: HealthCheck) -> None:
        self._check = check
        self._asking: asyncio.Task[Health] | None = None

    async def ask(self) -> Health:
        """Return the health. One that does not say in time, or fails to, is not well: the others are heard all the same."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._guarded(), name="health check")
        await asyncio.wait((self._asking,), timeout=_WITHIN_S)
        if not self._asking.done():
            return Health(Status.UNHEALTHY, f"does not say within {_WITHIN_S:g} s")
        return Health(Status.UNHEALTHY, "stopped") if self._asking.cancelled() else self._asking.result()

    def stop(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()

    async def _guarded(self) -> Health:
        try:
            return await self._check()
        except Exception as error:  # noqa: BLE001  it is the answer
            return Health(Status.UNHEALTHY, f"{type(error).__name__}: {error}")
