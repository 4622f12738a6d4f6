"""Taking the data of older versions away in PostgreSQL, behind the log."""

from stylobate.database import DatabaseManager

from stylobate_state.model import StateKey
from stylobate_state.store.forgetting import Erased, Forgetting, Forgot

# An event may carry what stood there before it, and keep some of it aside: that goes with the version that it is of.
_NEXT = """,
    next as (
        update outbox_event event set data = event.data - 'before' - 'delta', aside = null
        from {forgotten} gone
        where event.tenant = gone.tenant and event.stream = gone.stream and event.subject = gone.subject
            and event.version = gone.version + 1 and (event.data ?| array['before', 'delta'] or event.aside is not null)
            and not exists (select from {forgotten} too where too.seq = event.seq)
    )"""
_BEGIN = """
    insert into state_forgotten (namespace, rule, partition) select $1, $2, generate_series(0, 15) on conflict do nothing
"""
_STEP = """
    with place as materialized (
        select partition, number from state_forgotten where namespace = $1 and rule = $2 order by partition for update
    ),
    seen as materialized (
        select event.*,
            bool_or(event.time > now() - $3::interval) over (partition by place.partition order by event.number) as is_young
        from place cross join lateral (
            select partition, number, stream, tenant, subject, version, type, time from outbox_event
            where partition = place.partition and number > place.number
            order by number limit $4
        ) event
    ),
    settled as materialized (select * from seen where not is_young),
    moved as (
        update state_forgotten place set number = reached.number
        from (select partition, max(number) as number from settled group by partition) reached
        where place.namespace = $1 and place.rule = $2 and place.partition = reached.partition
    ),
    forgotten as (
        update outbox_event older set data = state_forget(older.data), aside = null
        from settled
        where settled.stream = $1 and older.tenant = settled.tenant and older.stream = settled.stream
            and older.subject = settled.subject and not older.data ? 'forgotten' and {which}
        returning older.seq, older.tenant, older.stream, older.subject, older.version
    ){next}
    select (select count(*) from forgotten) as versions,
        exists (select from settled group by partition having count(*) = $4) as has_more
"""
_BEHIND = _STEP.format(next=_NEXT.format(forgotten="forgotten"), which="older.version = settled.version - $5")
_DELETED = _STEP.format(
    next=_NEXT.format(forgotten="forgotten"),
    which="""older.version < settled.version and settled.type = $5 and not exists (
                select from outbox_event undone
                where undone.tenant = settled.tenant and undone.stream = settled.stream and undone.subject = settled.subject
                    and undone.version = settled.version + 1 and undone.data ? 'restored_from'
            )""",
)
# The object is held meanwhile: what is the newest version stays it until this is done.
_ERASE_ALL = """
    with present as materialized (
        select case when deleted_at is null then version else 0 end as living
        from state where tenant = $1 and namespace = $2 and key = $3 for update
    ),
    erased as (
        update outbox_event set data = state_forget(data), aside = null
        where tenant = $1 and stream = $2 and subject = $3 and not data ? 'forgotten' and version <> (select living from present)
        returning seq, tenant, stream, subject, version
    ){next}
    select (select count(*) from erased) as versions, coalesce((select living from present), 0) as living
"""
# What of a page of a namespace's log names a person, or is of an object that was the person's when it was deleted.
_WITHOUT = """
    with part as materialized (
        select seq, subject, version from outbox_event
        where tenant = $1 and stream = $2 and (subject, version) > ($4, $5) order by subject, version limit $7
    ),
    gone as materialized (
        select key from state
        where $6 and tenant = $1 and namespace = $2 and owner = $3 and deleted_at is not null
            and key in (select subject collate "C" from part)
    ),
    blanked as (
        update outbox_event event
        set actor = case when event.actor = $3 then '' else event.actor end,
            data = state_without(case when gone.key is null then event.data else state_forget(event.data) end, $3),
            aside = case when gone.key is null then event.aside end
        from part left join gone on gone.key = part.subject collate "C"
        where event.seq = part.seq and (
            (gone.key is not null and not event.data ? 'forgotten') or event.actor = $3 or event.data ->> 'actor' = $3
            or event.data ->> 'owner' = $3 or event.data ->> 'previous_owner' = $3
        )
    )
    select subject, version, (select count(*) from part) as looked from part order by subject desc, version desc limit 1
"""
_NOBODYS = "update state set owner = '' where tenant = $1 and namespace = $2 and owner = $3 and deleted_at is not null"
_ERASE = _ERASE_ALL.format(next=_NEXT.format(forgotten="erased"))


class PostgresForgettingStore:
    """A ForgettingStore in the service's schema."""

    def __init__(self, database: DatabaseManager) -> None:
        self._database = database

    async def forget(self, forgetting: Forgetting, most: int) -> Forgot:
        """See ForgettingStore."""
        namespace, rule = forgetting.namespace, forgetting.rule
        await self._database.execute(_BEGIN, namespace, rule)
        statement, which = (_BEHIND, forgetting.behind) if forgetting.behind else (_DELETED, f"state.{namespace}.deleted")
        row = await self._database.fetchrow(statement, namespace, rule, forgetting.age, most, which)
        return Forgot(row["versions"], row["has_more"]) if row is not None else Forgot(0, has_more=False)

    async def forget_person(
        self, tenant: str, namespace: str, person: str, *, erases: bool, after: tuple[str, int], most: int
    ) -> tuple[str, int] | None:
        """See ForgettingStore."""
        row = await self._database.fetchrow(_WITHOUT, tenant, namespace, person, *after, erases, most)
        if row is not None and row["looked"] == most:
            return row["subject"], row["version"]
        await self._database.execute(_NOBODYS, tenant, namespace, person)
        return None

    async def erase(self, key: StateKey) -> Erased:
        """See ForgettingStore."""
        row = await self._database.fetchrow(_ERASE, *key)
        return Erased(row["versions"], row["living"]) if row is not None else Erased(0, 0)
