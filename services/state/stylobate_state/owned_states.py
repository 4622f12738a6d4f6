"""What an owner's objects are, given out whole: for who is to have all that is kept of a person."""

from collections.abc import Mapping
from dataclasses import replace

from stylobate.keys import unreadable
from stylobate.paging import no_token, page_position, page_token

from stylobate_state.errors import StateNamespaceUnknownError
from stylobate_state.model import ListQuery, StateRecord
from stylobate_state.namespace import Namespace
from stylobate_state.state_writer import Environment

_AT_ONCE = 100
"""Objects of a page, which also ends before it grows over 8 MiB."""


class OwnedStates:
    """Lists objects by their owner. Nobody's access is asked, and rules about who sees which field do not count."""

    def __init__(self, namespaces: Mapping[str, Namespace], environment: Environment) -> None:
        self._namespaces = namespaces
        self._store = environment.store
        self._upgrades = environment.upgrades

    async def page(self, tenant: str, owner: str, name: str, token: str) -> tuple[list[StateRecord], str]:
        """Return some living objects of an owner in a namespace, by key, and the token of the next page; empty: that is all.

        They are without what the namespace does not give out.

        :raises StateNamespaceUnknownError: nothing declares it. :raises InvalidInputError: a token of something else.
        :raises StateUpgradeUnavailableError: there is data of an older schema version, and its module does not answer.
        """
        namespace = self._namespaces.get(name)
        if namespace is None:
            raise StateNamespaceUnknownError(name)
        about = ("owned", name, owner)
        after = page_position(about, token)
        if after and unreadable(after):
            raise no_token()
        found = await self._store.list_states(ListQuery(tenant, name, _AT_ONCE, after=after, owner=owner))
        states = await self._upgrades.shown([(namespace, state) for state in found.items])
        withheld = namespace.fields.withheld
        given = [replace(state, data=withheld.shows(state.data)) for state in states]
        return given, page_token(about, found.items[-1].key.key) if found.has_more else ""
