-- Few rows, updated all the time: room beside them keeps that out of the index, and dead ones are cleared away soon.
alter table outbox_head set (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
