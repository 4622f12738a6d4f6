-- Indexes that namespaces declare: what they are, and an entry for each object in each. Entries lie in a table of their own, so
-- that updates of `state` stay in their pages (HOT), and one b-tree serves every query: the bytes of `sort` are in the order of
-- the values (stylobate_state/index_encoding.py).
create table state_index (
    id bigint generated always as identity primary key,
    namespace text collate "C" not null,
    definition text not null,
    own text[] not null, -- for each field: what of the object itself it is, '' for a member of the data
    statuses text[], -- only objects with one of these are in it; null: all
    is_unique boolean not null,
    by_owner boolean not null, -- whether entries know their owner: lists of one's own objects go by it
    is_ready boolean not null default false,
    is_dropped boolean not null default false, -- nobody declares it any more, and its entries are being removed
    declared_at timestamptz not null default now(), -- when a process last said that it declares it
    place text[], -- tenant and key up to which it is built
    entered bigint not null default 0,
    problem text not null default '', -- why it cannot be made ready, as JSON
    unique (namespace, definition)
);

create table state_entry (
    index_id bigint not null,
    tenant text collate "C" not null,
    key text collate "C" not null,
    sort bytea not null,
    owner text collate "C",
    hold smallint not null, -- 0 plain, 1 no other may have its values, 2 another had them first, 3 too long for the index
    primary key (index_id, tenant, key)
) with (fillfactor = 80);
create index state_entry_sort on state_entry (index_id, tenant, sort, key);
create index state_entry_owner on state_entry (index_id, tenant, owner, sort, key) where owner is not null;
create unique index state_entry_unique on state_entry (index_id, tenant, sort) where hold = 1;
create index state_entry_amiss on state_entry (index_id, tenant, key) where hold > 1;

-- The bytes of one field of an entry: `part` came with the write, what only the database knows is made here.
create function state_index_part(own text, part bytea, status text, created timestamptz, updated timestamptz) returns bytea
language sql stable as $$
    select case own
        when 'status' then '\x01'::bytea || convert_to(status, 'UTF8') || '\x00'::bytea
        when 'created_at' then '\x01'::bytea || int8send((extract(epoch from created) * 1000000)::bigint # (-9223372036854775808)::bigint)
        when 'updated_at' then '\x01'::bytea || int8send((extract(epoch from updated) * 1000000)::bigint # (-9223372036854775808)::bigint)
        else coalesce(part, ''::bytea)
    end
$$;
