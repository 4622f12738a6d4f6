-- Who may do a piece of work, until when. Rows stay when a lease ends: the token must never be given out twice.
create table lease (
  name text primary key,
  holder text not null,
  token bigint not null,
  expires_at timestamptz not null
) with (fillfactor = 50); -- rows are updated all the time; room beside them keeps that out of the index
