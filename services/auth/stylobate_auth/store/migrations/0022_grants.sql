-- Permissions on single resources. A release before this one does not know them: it permits nothing by them.
-- Texts are compared as bytes, as who reads them does.
create table resource_grant (
    tenant text not null,
    subject text collate "C" not null,
    permission text collate "C" not null,
    resource text collate "C" not null,
    expires_at timestamptz,
    granted_at timestamptz not null,
    granted_by text not null,
    primary key (tenant, subject, permission, resource)
);
create index resource_grant_by_resource on resource_grant (tenant, resource, subject, permission);
create index resource_grant_by_end on resource_grant (expires_at) where expires_at is not null;
