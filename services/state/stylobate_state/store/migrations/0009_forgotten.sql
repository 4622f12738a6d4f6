-- Data of older versions is taken away behind the log of events: up to which number of each partition that was done, for each rule
-- of a namespace. `history:<n>`: each event takes away what lies n versions below it. `deleted`: each deletion all below it.
create table state_forgotten (
    namespace text collate "C" not null,
    rule text not null,
    partition smallint not null,
    number bigint not null default 0,
    primary key (namespace, rule, partition)
) with (fillfactor = 50);

-- What stays of an event whose data is taken away: what happened, to what, and by whom.
create function state_forget(data jsonb) returns jsonb language sql immutable parallel safe as $$
    select coalesce(jsonb_object_agg(name, value), '{}'::jsonb) || '{"data": null, "forgotten": true}'::jsonb
    from jsonb_each(data) as member (name, value)
    where name in (
        'namespace', 'key', 'version', 'status', 'actor', 'event', 'from', 'to', 'owner', 'previous_owner', 'restored_from',
        'schema_version'
    )
$$;
