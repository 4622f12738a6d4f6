-- Calls of actions that came with an idempotency key: begun, then answered.
create table action_run (
    tenant text not null,
    caller text not null,
    action text not null,
    key text not null,
    request bytea not null,
    run_id text not null,
    began_at timestamptz not null,
    token bigint not null,
    held_until timestamptz not null,
    answer bytea,
    expires_at timestamptz not null,
    primary key (tenant, caller, action, key)
);
create index action_run_expiry on action_run (expires_at);
