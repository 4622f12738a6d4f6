-- Accounts, their roles, sessions with their refresh tokens, and what was revoked. The tenant is first in every key.
create table account (
    tenant text not null,
    id uuid not null,
    email text not null,
    email_key text not null,
    display_name text not null,
    email_verified boolean not null default false,
    password_hash text not null,
    created_at timestamptz not null,
    primary key (tenant, id),
    constraint account_email unique (tenant, email_key)
);

create table account_role (
    tenant text not null,
    account_id uuid not null,
    role text not null,
    primary key (tenant, account_id, role),
    foreign key (tenant, account_id) references account on delete cascade
);

-- A session is the family of its refresh tokens.
create table session (
    tenant text not null,
    id uuid not null,
    account_id uuid not null,
    opened_at timestamptz not null,
    expires_at timestamptz not null,
    token_expires_at timestamptz not null,
    ended_at timestamptz,
    end_reason text,
    primary key (tenant, id),
    foreign key (tenant, account_id) references account on delete cascade,
    check ((ended_at is null) = (end_reason is null))
);

create index session_by_account on session (tenant, account_id);
create index session_by_expiry on session (expires_at);

-- Spent tokens stay until their session goes: a second use of any of them must be known as one.
create table refresh_token (
    tenant text not null,
    hash bytea not null check (length(hash) = 32),
    session_id uuid not null,
    issued_at timestamptz not null,
    expires_at timestamptz not null,
    used_at timestamptz,
    primary key (tenant, hash),
    foreign key (tenant, session_id) references session on delete cascade
);

create index refresh_token_by_session on refresh_token (tenant, session_id);

-- The deny-list: each entry until no token that it could concern is left.
create table revocation (
    tenant text not null,
    kind smallint not null check (kind between 1 and 3),
    id text not null,
    not_before timestamptz,
    expires_at timestamptz not null,
    changed_at timestamptz not null default now(),
    primary key (tenant, kind, id)
);

create index revocation_by_change on revocation (changed_at);
create index revocation_by_expiry on revocation (expires_at);

-- What roles mean, as a digest, and a number that rises when that or the roles of an account change.
create table access_state (
    is_only boolean primary key default true check (is_only),
    version bigint not null,
    roles_digest text not null
);

insert into access_state (version, roles_digest) values (1, '');
