-- What an event has for its own service alone: read with the log there, and never part of the event as others get it.
alter table outbox_event add column aside jsonb;
