-- A move has an id. In the database that a namespace leaves: the move that is under way. In the one that it goes to: the move for
-- which room was made; only its steps may write the namespace there.
alter table state_place add column move text not null default '';
alter table state_place drop column opening;
