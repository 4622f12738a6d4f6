-- Keys by which an OAuth client signs: a public key in place of a secret. `secret_hash` is then that of a secret which nobody has, so
-- that the release before refuses what claims to be its text. An account has the same key once.
alter table api_key add column public_key text;
alter table api_key add column thumbprint text;
alter table api_key add constraint api_key_public check ((public_key is null) = (thumbprint is null));

create unique index api_key_by_thumbprint on api_key (tenant, owner_id, thumbprint)
    where thumbprint is not null and revoked_at is null;

-- What clients have signed and used: once each, in whichever process, until it would be refused for its age.
create table client_assertion (
    tenant text not null,
    client_id uuid not null,
    jti_hash bytea not null check (length(jti_hash) = 32),
    expires_at timestamptz not null,
    primary key (tenant, client_id, jti_hash)
);

create index client_assertion_by_end on client_assertion (expires_at);
