-- Accounts that are deleted: what is left of one is its id. Until `done_at` other services have still to forget it, and it is
-- taken up again at `due_at`.
create table user_deletion (
    tenant text not null,
    account_id uuid not null,
    began_at timestamptz not null,
    done_at timestamptz,
    due_at timestamptz,
    primary key (tenant, account_id),
    check ((done_at is null) = (due_at is not null))
);

create index user_deletion_by_due on user_deletion (due_at) where due_at is not null;
