-- Places that logged in to an account: the limit key of an address, IPv4 or an IPv6 /64. Strangers' tries do not count there.
create table login_place (
    tenant text not null,
    account_id uuid not null,
    place text not null,
    expires_at timestamptz not null,
    primary key (tenant, account_id, place),
    foreign key (tenant, account_id) references account on delete cascade
);

create index login_place_by_expiry on login_place (expires_at);
