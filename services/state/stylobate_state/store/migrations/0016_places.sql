-- Which namespaces came here to stand in this database, beside the service's first one; and, in that first one, which of its
-- namespaces stand elsewhere. A check constraint of `state`, added with such a row, keeps these from being written here.
create table state_place (
    namespace text collate "C" primary key,
    elsewhere text, -- the database in which it stands, as the settings call it; null: it stands here
    opening bigint[], -- here: per partition the last number of the log before the first event that was written here
    noted_at timestamptz not null default now(),
    check ((elsewhere is null) = (opening is not null))
);
