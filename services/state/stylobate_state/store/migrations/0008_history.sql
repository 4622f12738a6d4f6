-- What of an object's history somebody did, or happened in one way, is found by an index, however long the history is.
-- A hash stands for the names, since each event is in here: 24 bytes instead of their length.
create function state_mark(tenant text, stream text, subject text, of text, type text) returns bigint
language sql immutable parallel safe as $$
    select hashtextextended(type, hashtextextended(of, hashtextextended(subject, hashtextextended(stream, hashtextextended(tenant, 0)))))
$$;
create index outbox_event_by_actor on outbox_event (state_mark(tenant, stream, subject, actor, type), version);
create index outbox_event_by_type on outbox_event (state_mark(tenant, stream, subject, '', type), version);
