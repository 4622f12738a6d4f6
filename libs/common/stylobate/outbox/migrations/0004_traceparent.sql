-- The trace that an event belongs to (W3C Trace Context), where it is sampled: hooks go on with it. Empty for all others.
alter table outbox_event add column traceparent text not null default '';
