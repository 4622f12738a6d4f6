-- Where a session is used from, for its owner to know it by: as its login or its newest refresh said, and when that was.
alter table session add address text not null default '';
alter table session add agent text not null default '';
alter table session add seen_at timestamptz;
