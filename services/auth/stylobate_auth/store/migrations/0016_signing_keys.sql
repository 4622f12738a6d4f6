-- What access tokens are signed with. Which key is in use follows from the time alone, so all processes agree. The private half is
-- sealed with the key-encryption key that `sealed_by` names.
create table signing_key (
    id text primary key,
    algorithm text not null check (algorithm in ('EdDSA', 'RS256')),
    public_key text not null,
    sealed bytea not null,
    sealed_by text not null,
    published_at timestamptz not null,
    signs_from timestamptz not null
);

-- Whose tokens count: the present issuer, and former ones until the last token of theirs has expired.
create table token_issuer (
    issuer text primary key,
    counts_until timestamptz not null
);
