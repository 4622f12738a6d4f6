"""Taking away the data that namespaces do not want kept: of all processes of the service the one with the lease does it."""

import asyncio
from collections.abc import Collection, Mapping
from datetime import timedelta

from stylobate.leases import Lease
from stylobate.logs import get_logger
from stylobate.stopping import goes_on
from stylobate.telemetry import counter

from stylobate_state.errors import StateEphemeralError, StateNamespaceUnknownError
from stylobate_state.model import StateKey
from stylobate_state.namespace import Namespace, check_key
from stylobate_state.store.forgetting import Erased, Forgetting, ForgettingStore

LEASE = "state-history"
_AT_ONCE = 100
"""Events of each partition in one step: what a transaction changes stays small."""
_PACE_S, _LOOK_S = 0.1, 10.0
"""Between steps while there is more to do, and between looks. The pauses leave the database to the traffic."""
_log = get_logger("app")


class HistoryForgetter:
    """Follows the log for each namespace that says ``history`` or ``retention``.

    :param grace: how long versions beyond ``history`` keep their data all the same.
    """

    def __init__(
        self, store: ForgettingStore, namespaces: Mapping[str, Namespace], grace: timedelta, ephemeral: Collection[str] = ()
    ) -> None:
        self._store = store
        self._namespaces = namespaces
        self._ephemeral = ephemeral
        self.rules = [rule for namespace in namespaces.values() for rule in _rules(namespace, grace)]
        self._counter = counter("state_versions_forgotten", "Versions whose data was taken away.", ("namespace",))

    async def run(self, _lease: Lease) -> None:
        """Take away what is not to be kept, step by step, as long as the lease is held."""
        while goes_on():
            has_more = await self.step()
            await asyncio.sleep(_PACE_S if has_more else _LOOK_S)

    async def erase(self, key: StateKey) -> Erased:
        """Take the data of everything that ever stood at a key away, but for the object that stands there now.

        Nobody's access is asked: it is for operators. :raises StateNamespaceUnknownError: nothing declares it.
        :raises StateEphemeralError: it has no history. :raises StateKeyInvalidError: the key names no object.
        """
        if key.namespace not in self._namespaces:
            raise StateNamespaceUnknownError(key.namespace)
        if key.namespace in self._ephemeral:
            raise StateEphemeralError(key.namespace, "history")
        check_key(key.key)
        erased = await self._store.erase(key)
        self._counter.labels(key.namespace).inc(erased.versions)
        _log.warning("object_erased", namespace=key.namespace, key=key.key, count=erased.versions)
        return erased

    async def forget_person(
        self, tenant: str, namespace: str, person: str, *, erases: bool, after: tuple[str, int], most: int
    ) -> tuple[str, int] | None:
        """See :meth:`ForgettingStore.forget_person`."""
        return await self._store.forget_person(tenant, namespace, person, erases=erases, after=after, most=most)

    async def step(self) -> bool:
        """Do a step for each rule, and say whether there is more to do at once."""
        has_more = False
        for rule in self.rules:
            forgot = await self._store.forget(rule, _AT_ONCE)
            has_more |= forgot.has_more
            if forgot.versions:
                self._counter.labels(rule.namespace).inc(forgot.versions)
                _log.info("versions_forgotten", namespace=rule.namespace, rule=rule.rule, count=forgot.versions)
        return has_more


def _rules(namespace: Namespace, grace: timedelta) -> list[Forgetting]:
    rules = []
    if namespace.history:
        rules.append(Forgetting(namespace.name, grace, namespace.history))
    if namespace.deleted_for is not None:
        rules.append(Forgetting(namespace.name, namespace.deleted_for))
    return rules
