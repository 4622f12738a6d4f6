-- Projections. Their objects are rows of `state`, in the namespace of the same name.
create table state_projection (
    name text collate "C" primary key,
    generation bigint not null default 1,
    position text not null default '',
    begun_at timestamptz not null default statement_timestamp(),
    is_rebuilding boolean not null default false,
    error text not null default ''
);

-- The last event that is applied, in the transaction that applied it: so each is applied once.
create table state_projection_number (
    projection text collate "C" not null,
    tenant text collate "C" not null,
    partition smallint not null,
    number bigint not null,
    primary key (projection, tenant, partition)
) with (fillfactor = 70);

-- While it is rebuilt: the objects of before that were not made again yet.
create table state_projection_stale (
    projection text collate "C" not null,
    tenant text collate "C" not null,
    key text collate "C" not null,
    primary key (projection, tenant, key)
);
