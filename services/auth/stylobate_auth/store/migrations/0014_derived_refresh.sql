-- What the next refresh token is derived with, from the one that is spent: see docs/adr/0131-refresh-tokens-are-derived.md.
-- Null: of a session that no process of this release has refreshed.
alter table session add refresh_secret bytea check (length(refresh_secret) = 32);

-- Tokens whose time is over go, also those of sessions that live.
create index refresh_token_by_expiry on refresh_token (expires_at);
