-- The invitation of the first administrator: one at a time, its token as a hash.
create table first_admin_invitation (
    tenant text primary key,
    token_hash bytea not null check (length(token_hash) = 32),
    expires_at timestamptz not null
);
