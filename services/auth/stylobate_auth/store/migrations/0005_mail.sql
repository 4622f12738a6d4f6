-- Mails to write, in the transaction of what causes them, and what each can be used for once. No address and no token stands here: the
-- address is the account's at the time of sending, the token is derived from the mail's id with a key that the database does not have.
create table mail (
    tenant text not null,
    id uuid not null,
    account_id uuid, -- null: an address without an account was written to; nothing is sent
    kind text not null,
    token_hash bytea not null check (length(token_hash) = 32),
    asked_at timestamptz not null,
    expires_at timestamptz not null,
    due_at timestamptz, -- null: handed over, or given up
    attempts integer not null default 0,
    used_at timestamptz,
    primary key (tenant, id),
    foreign key (tenant, account_id) references account on delete cascade
);

create unique index mail_by_token on mail (tenant, token_hash);
create index mail_by_account on mail (tenant, account_id);
create index mail_by_due on mail (due_at) where due_at is not null;
create index mail_by_expiry on mail (expires_at);

-- The address that an account is to have once it is proven, and the one that it had until it is told so.
alter table account add new_email text;
alter table account add new_email_key text;
alter table account add old_email text;
-- Whether nobody gets in before the address is proven.
alter table account add must_verify boolean not null default false;
