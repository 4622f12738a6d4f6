-- What a key is limited to by itself, as it was written (`100/minute`); empty: nothing.
alter table api_key add column rate_limit text not null default '';
