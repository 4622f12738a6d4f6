-- Since when nobody is let in to an account; and the order in which administrators see accounts of people.
alter table account add column disabled_at timestamptz;

create index account_of_person on account (tenant, created_at, id) where not is_service;
create index account_role_by_role on account_role (tenant, role, account_id);
