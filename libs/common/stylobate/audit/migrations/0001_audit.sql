-- Who did what, when, and how it ended. Rows are added, never changed.
create table audit_record (
    id uuid primary key,
    time timestamptz not null,
    tenant text not null,
    actor text not null,
    via text not null,
    action text not null,
    target text not null,
    outcome text not null check (outcome in ('success', 'denied', 'failure')),
    reason text not null,
    request_id text not null,
    detail jsonb not null
);

create index audit_record_by_time on audit_record (tenant, time);
