-- Compare and set, a batch at a time, each write with its event; one statement, so one transaction.
-- A key stands in the batch once. Expected: 0 nothing alive, n alive at that version, null alive at any.
with i as materialized (
    select *
    from unnest(
        $1::int[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::jsonb[], $9::text[],
        $10::uuid[], $11::text[], $12::text[], $13::text[], $14::smallint[],
        $15::smallint[], $16::text[]
    ) as t (
        i, tenant, namespace, key, expected, owner, status, data, actor, event_id, change, event, from_status, partition,
        depth, traceparent
    )
),
-- The newest version of what is there, locked in one order for all batches: they cannot wait for each other in a circle.
l as materialized (
    select s.tenant, s.namespace, s.key, s.version, s.owner, s.deleted_at is null as is_live
    from state s join i using (tenant, namespace, key)
    order by s.tenant, s.namespace, s.key
    for update of s
),
u as (
    update state s
    set version = s.version + 1,
        status = coalesce(i.status, s.status),
        data = i.data,
        owner = i.owner,
        first_version = case when l.is_live then s.first_version else s.version + 1 end,
        created_at = case when l.is_live then s.created_at else greatest(statement_timestamp(), s.updated_at) end,
        updated_at = greatest(statement_timestamp(), s.updated_at),
        deleted_at = case when i.change = 'deleted' then greatest(statement_timestamp(), s.updated_at) end
    from i join l using (tenant, namespace, key)
    where s.tenant = l.tenant and s.namespace = l.namespace and s.key = l.key
      and case
            when i.expected = 0 then not l.is_live
            else l.is_live and l.owner = i.owner and (i.expected is null or i.expected = l.version)
          end
    returning i.i, s.version, s.status, s.owner, s.created_at, s.updated_at, s.first_version, s.data
),
n as (
    insert into state (tenant, namespace, key, version, status, data, owner, first_version, created_at, updated_at)
    select i.tenant, i.namespace, i.key, 1, coalesce(i.status, ''), i.data, i.owner, 1, statement_timestamp(), statement_timestamp()
    from i
    where i.expected = 0
      and not exists (select from l where l.tenant = i.tenant and l.namespace = i.namespace and l.key = i.key)
    order by i.tenant, i.namespace, i.key
    on conflict (tenant, namespace, key) do nothing
    returning tenant, namespace, key, version, status, owner, created_at, updated_at, first_version, data
),
w as materialized (
    select * from u
    union all
    select i.i, n.version, n.status, n.owner, n.created_at, n.updated_at, n.first_version, n.data
    from n join i using (tenant, namespace, key)
),
e as (
    insert into outbox_event (id, tenant, partition, stream, subject, version, type, source, time, actor, depth, traceparent, data)
    select
        i.event_id, i.tenant, i.partition, i.namespace, i.key, w.version, 'state.' || i.namespace || '.' || i.change, 'state',
        w.updated_at, i.actor, i.depth, i.traceparent,
        jsonb_build_object(
            'namespace', i.namespace, 'key', i.key, 'version', w.version, 'status', w.status, 'data', i.data, 'actor', i.actor
        ) || case
            when i.change = 'transitioned' then jsonb_build_object('event', i.event, 'from', i.from_status, 'to', w.status)
            else '{}'::jsonb
        end
    from w join i using (i)
)
select
    w.version, w.status, w.owner, w.created_at, w.updated_at, w.first_version, w.data::text,
    l.version as seen, l.is_live
from i
left join w using (i)
left join l using (tenant, namespace, key)
order by i.i
