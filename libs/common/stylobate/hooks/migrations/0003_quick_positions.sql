-- Few rows, updated all the time: room beside them keeps that out of the index, and dead ones are cleared away soon.
alter table hook_position set (fillfactor = 30, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
alter table hook_aside set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
