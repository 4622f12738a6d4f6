-- When everything that a key had sealed was sealed with a later one.
alter table data_key add column replaced_at timestamptz;
