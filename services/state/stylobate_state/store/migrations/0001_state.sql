-- State objects. A deleted one leaves its row as a tombstone, so that the version of its key never restarts.
-- Keys are compared byte by byte: the order of lists, and the order in which batches take locks, is the same everywhere.
create table state (
    tenant text collate "C" not null,
    namespace text collate "C" not null,
    key text collate "C" not null,
    version bigint not null check (version > 0),
    status text not null,
    data jsonb not null,
    owner text collate "C" not null,
    first_version bigint not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    deleted_at timestamptz,
    primary key (tenant, namespace, key)
) with (fillfactor = 80);

-- Lists of one's own objects. Status and time are in no index on purpose: an update that touches no indexed column stays
-- in its page (HOT), and every transition changes both.
create index state_owner on state (tenant, namespace, owner, key) where deleted_at is null;
