-- An event that was written to another log first and carried here with its objects: who follows that log has had it there. Null: no.
alter table outbox_event add column is_carried boolean;
