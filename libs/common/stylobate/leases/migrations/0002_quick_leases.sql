-- Few rows, updated all the time: dead ones are cleared away soon.
alter table lease set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 200);
