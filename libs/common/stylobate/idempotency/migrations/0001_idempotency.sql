-- Answers to changes that carried an idempotency key, each written in the transaction of its change.
create table idempotency (
    tenant text not null,
    caller text not null,
    method text not null,
    key text not null,
    request bytea not null,
    answer bytea not null,
    expires_at timestamptz not null,
    primary key (tenant, caller, method, key)
);
create index idempotency_expiry on idempotency (expires_at);
