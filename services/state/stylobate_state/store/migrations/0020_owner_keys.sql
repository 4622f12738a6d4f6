-- Keys of owners, where a namespace says `encryption: per_owner`: each sealed with a data key of the namespace. Of one that was
-- destroyed the id stays, so that what it had sealed is known to be gone. A backup leaves this table out: see ADR 0167.
create table owner_key (
  id text primary key,
  purpose text not null,
  tenant text not null,
  owner text,
  sealed_by text not null,
  sealed bytea,
  created_at timestamptz not null default clock_timestamp(),
  destroyed_at timestamptz,
  unique (sealed_by, tenant, owner)
);
create index owner_key_owner on owner_key (purpose, tenant, owner) where owner is not null;
