-- Compare and set, a batch at a time, each write with its event; one statement, so one transaction.
-- A key stands in the batch once. Expected: 0 nothing alive, n alive at that version, null alive at any.
-- Writes of one group (0: alone) happen together or not at all.
-- A batch is sent without what it does not need (cas.py): what stands between `-- groups {` and `-- groups }`, or on a line that
-- ends in `-- groups`, where there are none (and a line that ends in `-- not groups`, where there are); likewise what concerns new
-- objects (`creates`), indexes, older versions that are brought back (`restores`), and objects that are moved to another schema
-- version (`migrations`): these keep their time and their timers. `versions`: events say
-- what schema version the data has, where it is not 1. `assigns`: objects that are handed over, which keep their timers too.
-- `timers`: statuses with timers that begin, as `state_timers` has them; a call of that would begin a query for each write.
-- `origins`: changes under hooks, or in a trace.
-- `tells`: events that carry what was there before, what changed of the data, and what led to it, where their namespaces ask for that.
-- `asides`: events of namespaces with indexes, which keep the fields of these for watches with filters.
-- Data is null where it stays as it is: it is neither sent nor sent back (`data`).
-- `seen`: writes that hold for what was read alone, which the time of its last change says beside the version. Where all do, what
-- comes back of an object is what its reader does not know (`whole`: else).
-- A column of texts is one text with U+001F between its values, or one value for the whole batch, where all are alike; U+001E is a
-- status that stays. Numbers, ids and times come as the text of an array.
-- Nothing happens, and no row comes back, where the writer does not know the newest index.
with i as materialized (
    select (t.place - 1)::int as i, t.key, t.expected, t.event_id, t.partition
        , coalesce(t.tenant, $tenant) as tenant, coalesce(t.namespace, $namespace) as namespace
        , coalesce(t.owner, $owner) as owner, coalesce(t.actor, $actor) as actor
        , coalesce(t.change, $change) as change, coalesce(t.event, $event) as event
        , coalesce(t.from_status, $from_status) as from_status
        , case when position(E'\x1f' in $status) > 0 then t.status else nullif($status, E'\x1e') end as status
        , t.data -- data
        , to_timestamp(t.seen) as seen -- seen
        , t.together -- groups
        , t.restored_from -- restores
        , t.schema_version -- versions
        , case when cardinality($starts::jsonb[]) = 1 then ($starts::jsonb[])[1] else t.timers end as timers -- timers
        , t.depth, t.traceparent -- origins
        , t.aside -- asides
        , null::jsonb as data -- not data
        , null::timestamptz as seen -- not seen
        , 0 as together -- not groups
        , 0::bigint as restored_from -- not restores
        , 1 as schema_version -- not versions
        , null::jsonb as timers -- not timers
        , 0::smallint as depth, '' as traceparent -- not origins
    from unnest(
        string_to_array($key::text, E'\x1f'), ($expected::text)::bigint[], ($event_id::text)::uuid[], ($partition::text)::smallint[],
        case when position(E'\x1f' in $tenant::text) > 0 then string_to_array($tenant, E'\x1f') end,
        case when position(E'\x1f' in $namespace::text) > 0 then string_to_array($namespace, E'\x1f') end,
        case when position(E'\x1f' in $owner::text) > 0 then string_to_array($owner, E'\x1f') end,
        case when position(E'\x1f' in $actor::text) > 0 then string_to_array($actor, E'\x1f') end,
        case when position(E'\x1f' in $change::text) > 0 then string_to_array($change, E'\x1f') end,
        case when position(E'\x1f' in $event::text) > 0 then string_to_array($event, E'\x1f') end,
        case when position(E'\x1f' in $from_status::text) > 0 then string_to_array($from_status, E'\x1f') end,
        case when position(E'\x1f' in $status::text) > 0 then string_to_array($status, E'\x1f', E'\x1e') end
        , $data::jsonb[] -- data
        , ($seen::text)::float8[] -- seen
        , $together::int[] -- groups
        , $restored_from::bigint[] -- restores
        , $schema_version::int[] -- versions
        , $starts::jsonb[] -- timers
        , $depth::smallint[], $traceparent::text[] -- origins
        , $aside::jsonb[] -- asides
    ) with ordinality as t (
        key, expected, event_id, partition, tenant, namespace, owner, actor, change, event, from_status, status
        , data -- data
        , seen -- seen
        , together -- groups
        , restored_from -- restores
        , schema_version -- versions
        , timers -- timers
        , depth, traceparent -- origins
        , aside -- asides
        , place
    )
    where (select coalesce(max(id), 0) from state_index) <= $newest
),
-- The newest version of what is there, locked in one order for all batches: they cannot wait for each other in a circle.
l as materialized (
    select i.i, s.version, s.deleted_at is null as is_live, s.status, s.created_at, s.updated_at, s.timers,
        s.owner, -- assigns
        s.data, s.schema_version, -- tells
        s.data as data_was, s.owner as owner_was, -- asides
        case
            when i.expected = 0 then s.deleted_at is not null and (i.restored_from = 0 or s.owner = i.owner)
            when i.change = 'assigned' then s.deleted_at is null and i.expected = s.version -- assigns
                and (i.seen is null or i.seen = s.updated_at) -- assigns
            else s.deleted_at is null and s.owner = i.owner and (i.expected is null or i.expected = s.version)
                and (i.seen is null or i.seen = s.updated_at)
        end as holds
    from state s join i using (tenant, namespace, key)
    order by s.tenant, s.namespace, s.key
    for update of s
),
-- indexes {
-- What the writes enter into indexes; sort is null where an object is not in one. Then what stands in the way: another that has
-- the values of a unique index ('unique'), a write before it in this batch that wants them too ('later'), values that are too long.
-- Another of the same group that gives the values up does not stand in the way.
p as materialized (
    select p.i, p.index_id, i.tenant, i.key, i.together, d.is_ready, d.is_unique, d.is_unique and p.trait = 0 as claims,
        p.trait = 2 as is_long,
        case when d.by_owner then i.owner end as owner,
        case when i.change <> 'deleted' and (d.statuses is null or v.status = any (d.statuses)) then
            state_index_part(d.own[1], p.part1, v.status, v.created, v.updated)
            || state_index_part(d.own[2], p.part2, v.status, v.created, v.updated)
            || state_index_part(d.own[3], p.part3, v.status, v.created, v.updated)
        end as sort
    from unnest(
        $entry_write::int[], $entry_index::bigint[], $entry_trait::smallint[],
        $entry_part1::bytea[], $entry_part2::bytea[], $entry_part3::bytea[]
    )
        as p (i, index_id, trait, part1, part2, part3)
    join i using (i)
    join state_index d on d.id = p.index_id and not d.is_dropped
    left join l using (i)
    cross join lateral (
        select coalesce(i.status, l.status, '') as status,
            case when i.change = 'migrated' then l.updated_at else -- migrations
            greatest(statement_timestamp(), l.updated_at)
            end -- migrations
            as updated,
            case when l.is_live or i.restored_from > 0 then l.created_at else greatest(statement_timestamp(), l.updated_at) end as created
    ) v
    where coalesce(l.holds, i.expected = 0)
),
q as materialized (
    select p.i, p.index_id, p.is_ready, p.is_long,
        coalesce( -- groups
            case -- groups
                when p.claims and p.together > 0 and first_value(p.together) over wanted = p.together -- groups
                    and first_value(p.i) over wanted <> p.i -- groups
                then first_value(p.key) over wanted -- groups
            end, -- groups
            h.key
        ) -- groups
        as holder,
        p.claims and first_value(p.i) over wanted <> p.i
            and (p.together = 0 or first_value(p.together) over wanted <> p.together) -- groups
            as is_later
    from p
    left join lateral (
        select e.key from state_entry e
        where p.claims and e.index_id = p.index_id and e.tenant = p.tenant and e.sort = p.sort and e.hold = 1 and e.key <> p.key
            and not exists ( -- groups
                select from p o -- groups
                where p.together > 0 and o.together = p.together and o.index_id = p.index_id and o.tenant = p.tenant -- groups
                    and o.key = e.key and o.sort is distinct from p.sort -- groups
            ) -- groups
        limit 1
    ) h on true
    where p.sort is not null and (p.claims or p.is_long)
    window wanted as (partition by p.index_id, p.tenant, p.sort, p.claims order by p.i)
),
r as materialized (
    select distinct on (i) i, index_id, holder,
        case when is_ready and holder is not null then 'unique' when is_ready and is_long then 'long' else 'later' end as why
    from q
    where is_later or (is_ready and (is_long or holder is not null))
    order by i, why desc, index_id
),
-- indexes }
-- groups {
-- Groups that are not written, or not yet.
g as materialized (
    select i.together,
        bool_or(not coalesce(l.holds, i.expected = 0, false)
            or coalesce(r.why <> 'later', false) -- indexes
        ) as is_refused
    from i left join l using (i)
        left join r using (i) -- indexes
    where i.together > 0
    group by i.together
    having bool_or(not coalesce(l.holds, i.expected = 0, false)
        or r.why is not null -- indexes
    )
),
-- groups }
u as (
    update state s
    set version = s.version + 1,
        status = coalesce(i.status, s.status),
        data = coalesce(i.data, s.data),
        owner = i.owner,
        schema_version = i.schema_version,
        first_version = case
            when s.owner <> i.owner then s.version + 1 -- assigns
            when l.is_live or i.restored_from > 0 then s.first_version
            else s.version + 1
        end,
        created_at = case when l.is_live or i.restored_from > 0 then s.created_at else greatest(statement_timestamp(), s.updated_at) end,
        updated_at =
            case when i.change = 'migrated' then s.updated_at else -- migrations
            greatest(statement_timestamp(), s.updated_at)
            end -- migrations
        ,
        deleted_at = case when i.change = 'deleted' then greatest(statement_timestamp(), s.updated_at) end,
        timers = case
            when i.change in ('updated', 'assigned') then s.timers
            when i.change = 'migrated' then s.timers -- migrations
            when i.timers is not null then ( -- timers
                select jsonb_agg(jsonb_build_object( -- timers
                    'event', event, 'since', s.version + 1, -- timers
                    'at', greatest(statement_timestamp(), s.updated_at) + make_interval(secs => seconds) -- timers
                )) -- timers
                from jsonb_to_recordset(i.timers) as start (event text, seconds double precision) -- timers
            ) -- timers
        end
    from i join l using (i)
    where s.tenant = i.tenant and s.namespace = i.namespace and s.key = i.key
      and l.holds
      and not exists (select from r where r.i = i.i) -- indexes
      and not exists (select from g where g.together = i.together) -- groups
    returning i.i, s.version, s.status, s.owner, s.created_at, s.updated_at, s.first_version, s.data, s.timers,
        s.tenant, s.namespace, s.key, l.timers is not null and i.change not in ('updated', 'assigned')
            and i.change <> 'migrated' -- migrations
            as ends_timers
),
-- creates {
n as (
    insert into state (tenant, namespace, key, version, status, data, owner, first_version, created_at, updated_at, timers, schema_version)
    select i.tenant, i.namespace, i.key, 1, coalesce(i.status, ''), i.data, i.owner, 1, statement_timestamp(), statement_timestamp(),
        ( -- timers
            select jsonb_agg(jsonb_build_object( -- timers
                'event', event, 'since', 1, 'at', statement_timestamp() + make_interval(secs => seconds) -- timers
            )) -- timers
            from jsonb_to_recordset(i.timers) as start (event text, seconds double precision) -- timers
        ), -- timers
        null, -- not timers
        i.schema_version
    from i
    where i.expected = 0
      and not exists (select from l where l.i = i.i)
      and not exists (select from r where r.i = i.i) -- indexes
      and not exists (select from g where g.together = i.together) -- groups
    order by i.tenant, i.namespace, i.key
    on conflict (tenant, namespace, key) do nothing
    returning tenant, namespace, key, version, status, owner, created_at, updated_at, first_version, data, timers
),
-- creates }
w as materialized (
    select i, version, status, owner, created_at, updated_at, first_version, data, timers from u
    union all -- creates
    select i.i, n.version, n.status, n.owner, n.created_at, n.updated_at, n.first_version, n.data, n.timers -- creates
    from n join i using (tenant, namespace, key) -- creates
),
-- indexes {
-- What leaves an index comes first, and where a group's values may change hands all that moves: they are free then. Entries are made
-- in one order too: who waits for another that wants the same values holds none that the other wants.
x as materialized (
    select state_leave(p.index_id, p.tenant, p.key, p.sort)
    from p join w using (i)
    where p.sort is null
        or (p.together > 0 and p.is_unique) -- groups
),
y as (
    insert into state_entry (index_id, tenant, key, sort, owner, hold)
    select p.index_id, p.tenant, p.key, p.sort, p.owner,
        case when p.is_long then 3 when not p.claims then 0 when q.holder is null then 1 else 2 end
    from p join w using (i) left join q using (i, index_id)
    where p.sort is not null and (select count(*) from x) >= 0
    order by p.index_id, p.tenant, p.sort
    on conflict (index_id, tenant, key) do update set sort = excluded.sort, owner = excluded.owner, hold = excluded.hold
    where (state_entry.sort, state_entry.owner, state_entry.hold) is distinct from (excluded.sort, excluded.owner, excluded.hold)
),
-- indexes }
-- tells {
-- What events carry beside what all do, with what was alive before.
b as (
    select (asked.place - 1)::int as i, asked.tells, l.version, l.status, l.data, l.schema_version
    from unnest($tells::jsonb[]) with ordinality as asked (tells, place)
        left join l on l.i = asked.place - 1 and l.is_live
),
-- tells }
e as (
    insert into outbox_event (
        id, tenant, partition, stream, subject, version, type, source, time, actor, depth, traceparent, data
        , aside -- asides
    )
    select
        i.event_id, i.tenant, i.partition, i.namespace, i.key, w.version, 'state.' || i.namespace || '.' || i.change, 'state',
        case when i.change = 'migrated' then greatest(statement_timestamp(), w.updated_at) else -- migrations
        w.updated_at
        end -- migrations
        , i.actor, i.depth, i.traceparent,
        jsonb_build_object(
            'namespace', i.namespace, 'key', i.key, 'version', w.version, 'status', w.status, 'data', w.data, 'actor', i.actor
        ) || case
            when i.change = 'transitioned' then jsonb_build_object('event', i.event, 'from', i.from_status, 'to', w.status)
            when i.change = 'created' then jsonb_build_object('owner', w.owner)
            when i.change = 'assigned' then jsonb_build_object('owner', w.owner, 'previous_owner', l.owner) -- assigns
            else '{}'::jsonb
        end
            || case when i.schema_version > 1 then jsonb_build_object('schema_version', i.schema_version) else '{}'::jsonb end -- versions
            || case when i.restored_from > 0 then jsonb_build_object('restored_from', i.restored_from) else '{}'::jsonb end -- restores
            || case when b.tells is not null then state_beside(b.tells, b.version, b.status, b.data, b.schema_version, w.data) -- tells
                else '{}'::jsonb end -- tells
        , case when i.aside is not null then state_aside( -- asides
            i.aside, was.data_was, was.owner_was, was.created_at, was.updated_at, w.owner, w.created_at, w.updated_at -- asides
        ) end -- asides
    from w join i using (i)
        left join l using (i) -- assigns
        left join b using (i) -- tells
        left join l was on was.i = i.i and was.is_live -- asides
),
-- Timers of the status entered are queued, those of the status left are not any more.
-- timers {
queued as (
    insert into state_timer (tenant, namespace, key, since, event, due_at)
    select i.tenant, i.namespace, i.key, w.version, timer.event, timer.at
    from i join w using (i) cross join jsonb_to_recordset(w.timers) as timer (event text, at timestamptz)
    where i.timers is not null
),
-- timers }
unqueued as (
    delete from state_timer t using u
    where u.ends_timers and t.tenant = u.tenant and t.namespace = u.namespace and t.key = u.key
)
select
    w.version, w.updated_at::text, w.timers::text
    , case when not coalesce(l.holds, i.expected = 0, false) then case when l.is_live then l.version else 0 end end as refused
    , case when i.data is not null then w.data::text end as kept -- data
    , w.status, w.owner, w.created_at::text, w.first_version -- whole
    , r.why, r.index_id, r.holder, (select count(*) from x) as gone -- indexes
    , g.is_refused, case when w.i is null and i.together > 0 and g.together is null then state_overtaken() end -- groups
from i
left join w using (i)
left join r using (i) -- indexes
left join l using (i)
left join g using (together) -- groups
order by i.i
