-- Records in a chain of hashes. A number is drawn when its transaction has an id already (`case` is evaluated in order), so that
-- once every transaction that was under way at some moment has ended, no record of a lower number can come any more.
-- Records of before have the number 0 and are sealed first. Adding the column rewrites nothing.
create sequence audit_record_seq;
alter table audit_record add column seq bigint not null default 0;
alter table audit_record alter column seq set default
    case when pg_current_xact_id() is not null then nextval('audit_record_seq') end;
alter sequence audit_record_seq owned by audit_record.seq;
create index audit_record_by_seq on audit_record (seq, id);

-- Records in the order of (seq, id), from behind the last one of the block before to the last one of this.
create table audit_block (
    number bigint primary key,
    last_seq bigint not null,
    last_id uuid not null,
    count bigint not null,
    first_time timestamptz not null,
    last_time timestamptz not null,
    hash bytea not null,
    sealed_at timestamptz not null default now(),
    deleted_at timestamptz
);

comment on column audit_block.deleted_at is 'When retention took away its records, and those of all blocks before it.';
