-- Roles beside those that modules declare. A release before this one does not know what they permit: nothing.
create table role (
    tenant text not null,
    name text not null,
    description text not null,
    permissions text[] not null,
    inherits text[] not null,
    changed_at timestamptz not null,
    primary key (tenant, name)
);
