-- Failed logins of accounts, counted until they are told as one event at `tell_at`; then the row goes.
create table failed_login (
    tenant text not null,
    account_id uuid not null,
    count integer not null,
    first_at timestamptz not null,
    last_at timestamptz not null,
    tell_at timestamptz not null,
    primary key (tenant, account_id)
);

create index failed_login_by_time on failed_login (tell_at);
