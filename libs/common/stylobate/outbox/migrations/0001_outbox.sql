-- Events and their log. A row is written in the transaction of the change it tells of, without a number; the relay gives
-- it one when it is published. The numbered rows of a partition, in the order of their numbers, are the log.
create table outbox_event (
    seq bigserial primary key,
    id uuid not null unique,
    tenant text not null,
    partition smallint not null check (partition between 0 and 15),
    stream text not null,
    subject text not null,
    version bigint not null,
    type text not null,
    source text not null,
    time timestamptz not null default now(),
    actor text not null default '',
    depth smallint not null default 0,
    data jsonb not null,
    number bigint,
    unique (tenant, stream, subject, version)
);

-- What the relay has still to take; small whenever a relay runs.
create index outbox_event_unnumbered on outbox_event (seq) where number is null;

-- The log. Unique: no two events ever share a place in it.
create unique index outbox_event_log on outbox_event (partition, number) where number is not null;

-- The ends of the log, and the fencing token of the relay that may move them.
create table outbox_head (
    partition smallint primary key check (partition between 0 and 15),
    number bigint not null default 0,
    pruned bigint not null default 0 check (pruned <= number),
    token bigint not null default 0
);

insert into outbox_head (partition) select generate_series(0, 15);
