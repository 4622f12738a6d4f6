-- Keys that values are sealed with, each sealed itself by a key-encryption key that stands in no database.
create table data_key (
  id text primary key,
  purpose text not null,
  generation int not null,
  sealed bytea not null,
  sealed_by text not null,
  created_at timestamptz not null default clock_timestamp(),
  unique (purpose, generation)
);
