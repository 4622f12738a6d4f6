-- Accounts of machines: no address, and no password that could be right. Their key of an address is their id, which no address is.
alter table account add column is_service boolean not null default false;

create index account_of_service on account (tenant, id) where is_service;
