-- Events whose subject stands aside: the hook failed on one of its events, or is long at it, and the other subjects of the
-- partition go on. The position has passed them. In the order of `seq`, one at a time per subject.
create table hook_aside (
    seq bigserial primary key,
    hook text not null,
    source text not null,
    partition smallint not null check (partition between 0 and 15),
    epoch text not null,
    number bigint not null,
    tenant text not null,
    subject text not null,
    event json not null,
    attempts integer not null default 0,
    error text not null default '',
    since timestamptz not null default now(),
    unique (hook, source, partition, epoch, number)
);

create index hook_aside_subject on hook_aside (hook, source, partition, tenant, subject, seq);

-- The epoch of the log that a number belongs to; empty: the first one. A log that was taken back gives numbers again.
alter table hook_position add column epoch text not null default '';
alter table hook_dead_letter add column epoch text not null default '';
alter table hook_dead_letter drop constraint hook_dead_letter_hook_source_partition_number_key;
alter table hook_dead_letter add unique (hook, source, partition, epoch, number);
