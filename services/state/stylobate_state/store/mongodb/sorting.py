"""What an index finds in MongoDB, sorted by another field: all of it is looked at, once, as it stood at one moment."""

from stylobate.database.mongodb import Document, MongoManager
from stylobate.declarations.indexes import path_of
from stylobate.declarations.model import IndexField

from stylobate_state.index import place_by
from stylobate_state.index_encoding import members
from stylobate_state.model import MOST_SORTED, Indexed, IndexQuery, TooMany
from stylobate_state.store.mongodb.documents import state_of
from stylobate_state.store.mongodb.finding import everything
from stylobate_state.store.mongodb.indexes import ENTRY
from stylobate_state.store.mongodb.replica import of_one_moment
from stylobate_state.store.part import Part, bounded


async def sorted_part(database: MongoManager, id_: int, query: IndexQuery, order: IndexField) -> Part[Indexed] | TooMany:
    """Return a page of what the query finds, in this order.

    Data is text here, so the objects come whole, at most MOST_SORTED of them.
    """
    stages = everything(id_, query, MOST_SORTED + 1)
    found = await of_one_moment(database, ENTRY, stages, may_lag=query.may_lag)
    if len(found) > MOST_SORTED:
        return TooMany()
    placed = sorted(
        (_indexed(one, order) for one in found),
        key=lambda one: (one.place, one.state.key.key),
        reverse=query.is_descending,
    )
    return bounded([one for one in placed if _is_behind(one, query)], query.limit, query.max_bytes)


def _indexed(found: Document, order: IndexField) -> Indexed:
    state = state_of(found["state"])
    (raw,) = members(state.data, [path_of(order.name)])
    place = place_by(order, raw, owner=state.owner, status=state.status, created_at=state.created_at, updated_at=state.updated_at)
    return Indexed(state, place)


def _is_behind(one: Indexed, query: IndexQuery) -> bool:
    """Return whether the page may begin with it or come to it."""
    if query.after is None:
        return True
    place = (one.place, one.state.key.key)
    return place < query.after if query.is_descending else place > query.after
