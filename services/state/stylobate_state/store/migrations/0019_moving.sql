-- Of a namespace that stands elsewhere: whether it is on its way, and not all of it has come. It is read here then, also by processes
-- that start meanwhile: a move goes on after whatever ended it.
alter table state_place add column is_moving boolean not null default false;
