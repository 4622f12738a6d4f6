-- Timers of a status. What an object waits for stands in its row, an array of {event, at, since}, written by the change that enters
-- the status and emptied by the one that leaves it: that is the truth. `at` is null for one that was spent without effect.
alter table state add column timers jsonb;

-- When what is due. A row without its like in the object (the status was left meanwhile) is swept out when it is due.
create table state_timer (
    tenant text collate "C" not null,
    namespace text collate "C" not null,
    key text collate "C" not null,
    since bigint not null,
    event text collate "C" not null,
    due_at timestamptz not null,
    tries smallint not null default 0,
    primary key (tenant, namespace, key, since, event)
) with (autovacuum_vacuum_scale_factor = 0.02);
create index state_timer_due on state_timer (due_at);

-- How far a timer that was declared later has been given to the objects that wait already: up to this key.
create table state_timer_fill (
    namespace text collate "C" not null,
    status text collate "C" not null,
    event text collate "C" not null,
    tenant text collate "C" not null default '',
    at_namespace text collate "C" not null default '',
    key text collate "C" not null default '',
    done_at timestamptz,
    passes smallint not null default 0,
    primary key (namespace, status, event)
);

-- The timers of a status that is entered. :param starts: array of {event, seconds}, or null. :param since: the version that enters.
create function state_timers(starts jsonb, entered timestamptz, since bigint) returns jsonb language sql stable as $$
    select jsonb_agg(jsonb_build_object('event', event, 'at', entered + make_interval(secs => seconds), 'since', since))
    from jsonb_to_recordset(starts) as start (event text, seconds double precision)
$$;
