-- What one person did, and what was done to one thing, the latest first. Reading by time alone goes by audit_record_by_time.
-- Calls of actions, of which there are most, have no target.
create index audit_record_by_actor on audit_record (tenant, actor, time);
create index audit_record_by_target on audit_record (tenant, target, time) where target <> '';
