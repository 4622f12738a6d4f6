-- Keys for machines. The SHA-256 of 256 random bits is all that is kept of one. A key's text names its id and not its tenant, so
-- ids are unique among all tenants.
create table api_key (
    tenant text not null,
    id uuid not null,
    owner_id uuid not null,
    name text not null,
    secret_hash bytea not null check (length(secret_hash) = 32),
    scopes text[] not null,
    allowed_cidrs text[] not null,
    created_at timestamptz not null,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    replaced_by uuid,
    primary key (tenant, id),
    foreign key (tenant, owner_id) references account on delete cascade
);

create unique index api_key_by_id on api_key (id);
create index api_key_by_owner on api_key (tenant, owner_id, id);
create index api_key_by_end on api_key (least(expires_at, revoked_at));
