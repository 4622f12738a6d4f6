-- Epochs of the log. A log that is taken back, by a restore or by a failover to a standby that lacks the last events, gives
-- numbers a second time; from then on its positions belong to another epoch. The first epoch has no name.
alter table outbox_head add column epoch text not null default '';
alter table outbox_head add column origin text;

create table outbox_epoch (
    seq bigserial primary key,
    epoch text not null unique,
    starts bigint[] not null check (cardinality(starts) = 16),
    origin text not null,
    reason text not null,
    began_at timestamptz not null default now()
);

comment on column outbox_epoch.starts is 'Per partition the last number that the epoch has in common with the one before.';

-- Which database this is: the cluster, its timeline (a promotion or a recovery from an archive begins another), the database
-- and the table (a restored dump makes others). Where the server does not tell the first two, the last two remain.
create function outbox_origin() returns text language plpgsql stable as $$
declare
    here text := (select oid from pg_database where datname = current_database()) || '/' || 'outbox_head'::regclass::oid;
begin
    return (select system_identifier from pg_control_system())
        || '/' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) || '/' || here;
exception when insufficient_privilege or feature_not_supported or undefined_function then
    return '-/-/' || here;
end $$;
