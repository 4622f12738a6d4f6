-- How far each durable hook has dealt with each partition of each log, and the token of the lease under which it may go on.
create table hook_position (
    hook text not null,
    source text not null,
    partition smallint not null check (partition between 0 and 15),
    number bigint not null,
    attempts integer not null default 0,
    token bigint not null default 0,
    updated_at timestamptz not null default now(),
    primary key (hook, source, partition)
);

-- What a hook gave up on: an event, or (event null) events up to this number that were pruned before the hook read them.
create table hook_dead_letter (
    id bigserial primary key,
    hook text not null,
    source text not null,
    partition smallint not null,
    number bigint not null,
    tenant text,
    event jsonb,
    attempts integer not null,
    error text not null,
    time timestamptz not null default now(),
    unique (hook, source, partition, number)
);
