-- Roles that end by themselves, and who gave them. A release before this one sees one that has ended until it is removed, which
-- a process of this release does.
alter table account_role add column expires_at timestamptz, add column assigned_at timestamptz, add column assigned_by text;

create index account_role_by_end on account_role (expires_at) where expires_at is not null;
create index account_role_of_admins on account_role (tenant, account_id) where role = 'admin';
