-- Under which version of its namespace's schema the data of an object was written. What is there already counts as version 1. It is in
-- no index, so that updates stay in their pages (HOT).
alter table state add column schema_version integer not null default 1;
