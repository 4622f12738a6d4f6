"""The statements of the hook store, fenced by lease token and epoch."""

KNOWN = "select distinct hook from hook_position where source = $1 and hook = any ($2::text[])"

ADD = """
insert into hook_position (hook, source, partition, number, epoch)
select h.hook, $1, n.partition, n.number, $5
from unnest($2::text[]) as h (hook), unnest($3::smallint[], $4::bigint[]) as n (partition, number)
on conflict do nothing
"""

# The holder of a lease writes its token into the rows; from then on whoever held it before finds no row to change.
TAKE = """
with mine as materialized (
    select hook, source, partition from hook_position
    where source = $1 and hook = any ($2::text[]) and token <= $3
    order by hook, partition for update
)
update hook_position p set token = $3 from mine
where p.hook = mine.hook and p.source = mine.source and p.partition = mine.partition
returning p.hook, p.partition, p.number, p.epoch
"""

# `greatest`: a move whose answer was lost may be sent again, after a later one too.
MOVE = """
with asked as materialized (
    select * from unnest($1::text[], $2::text[], $3::smallint[], $4::bigint[], $5::bigint[], $6::text[]) with ordinality
        as m (hook, source, partition, number, token, epoch, place)
), mine as materialized (
    select p.hook, p.source, p.partition, asked.number, asked.place
    from hook_position p join asked
        on p.hook = asked.hook and p.source = asked.source and p.partition = asked.partition and p.token = asked.token
        and p.epoch = asked.epoch
    order by p.hook, p.source, p.partition for update of p
)
update hook_position p set number = greatest(p.number, mine.number), attempts = 0, updated_at = now() from mine
where p.hook = mine.hook and p.source = mine.source and p.partition = mine.partition
returning mine.place
"""

BURY = """
with moved as (
    update hook_position set number = greatest(number, $11), attempts = 0, updated_at = now()
    where hook = $1 and source = $2 and partition = $3 and token = $4 and epoch = $5 returning partition
), buried as (
    insert into hook_dead_letter (hook, source, partition, epoch, number, tenant, event, attempts, error)
    select $1, $2, $3, $5, $6, $7, $8::jsonb, $9, $10 from moved
    on conflict do nothing
)
select partition from moved
"""

# All partitions of a hook at once, so that they are always of one epoch.
REBASE = """
with asked as materialized (
    select * from unnest($5::smallint[], $6::bigint[], $7::bigint[], $8::text[]) as a (partition, number, lost, error)
), before as materialized (
    select p.partition, p.epoch, asked.number, asked.lost, asked.error from hook_position p join asked using (partition)
    where p.hook = $1 and p.source = $2 and p.token = $3 order by p.partition for update of p
), recorded as (
    insert into hook_dead_letter (hook, source, partition, epoch, number, attempts, error)
    select $1, $2, partition, epoch, lost, 0, error from before where error is not null
    on conflict do nothing
)
update hook_position p set number = before.number, epoch = $4, attempts = 0, updated_at = now() from before
where p.hook = $1 and p.source = $2 and p.partition = before.partition
returning p.partition
"""

HELD = "select count(*) from hook_position where hook = $1 and source = $2 and token = $3"

LISTING = """
select p.hook, p.source, max(p.epoch) as epoch, array_agg(p.number order by p.partition) as numbers,
       max(p.updated_at) as updated_at,
       (select count(*) from hook_aside a where a.hook = p.hook and a.source = p.source) as aside,
       (select count(*) from hook_dead_letter d where d.hook = p.hook and d.source = p.source) as dead
from hook_position p group by p.hook, p.source order by p.hook, p.source
"""

# The token rises, so that who works under the old one notices and begins anew from here.
REWIND = """
with asked as materialized (select * from unnest($4::smallint[], $5::bigint[]) as a (partition, number)),
mine as materialized (
    select p.partition, asked.number from hook_position p join asked using (partition)
    where p.hook = $1 and p.source = $2 order by p.partition for update of p
)
update hook_position p set number = mine.number, epoch = $3, attempts = 0, token = token + 1, updated_at = now()
from mine where p.hook = $1 and p.source = $2 and p.partition = mine.partition
returning p.partition
"""

# What stands aside.

PUT = """
with moved as (
    update hook_position set number = greatest(number, $6), attempts = 0, updated_at = now()
    where hook = $1 and source = $2 and partition = $3 and token = $4 and epoch = $5 returning partition
), kept as (
    insert into hook_aside (hook, source, partition, epoch, number, tenant, subject, event)
    select $1, $2, $3, $5, $6, $7, $8, $9::json from moved
    on conflict do nothing
)
select partition from moved
"""

SUBJECTS = """
select partition, tenant, subject, count(*) as count from hook_aside where hook = $1 and source = $2
group by partition, tenant, subject
"""

FIRST = """
select seq, partition, number, event::text, attempts, greatest(0, extract(epoch from now() - since))::float8 as age_s
from hook_aside where hook = $1 and source = $2 and partition = $3 and tenant = $4 and subject = $5
order by seq limit 1
"""

# Each of these locks the position: whoever takes over after it finds it done; after a takeover it does nothing.
FAILED = """
with mine as materialized (
    select partition from hook_position where hook = $1 and source = $2 and partition = $3 and token = $4 for share
), failed as (
    update hook_aside set attempts = $6, error = $7 where seq = $5 and exists (select from mine)
)
select partition from mine
"""

DONE = """
with mine as materialized (
    select partition from hook_position where hook = $1 and source = $2 and partition = $3 and token = $4 for share
), gone as (
    delete from hook_aside where seq = $5 and exists (select from mine)
)
select partition from mine
"""

BURY_ASIDE = """
with mine as materialized (
    select partition from hook_position where hook = $1 and source = $2 and partition = $3 and token = $4 for share
), gone as (
    delete from hook_aside where seq = $5 and exists (select from mine) returning *
), buried as (
    insert into hook_dead_letter (hook, source, partition, epoch, number, tenant, event, attempts, error)
    select hook, source, partition, epoch, number, tenant, event::jsonb, $6, $7 from gone
    on conflict do nothing
)
select partition from mine
"""

# What was given up.

DEAD = """
select id, hook, source, partition, number, event::text, attempts, error, time from hook_dead_letter
where ($1 = '' or hook = $1) and (cardinality($2::bigint[]) = 0 or id = any ($2)) order by id desc limit $3
"""

# The token rises, as for a rewind: who runs the hook begins anew, and finds what stands aside.
REDRIVE = """
with mine as materialized (
    select hook, source, partition from hook_position
    where (hook, source) in (select hook, source from hook_dead_letter where id = any ($1::bigint[]) and event is not null)
    order by hook, source, partition for update
), gone as (
    delete from hook_dead_letter d where id = any ($1) and event is not null
        and exists (select from mine where mine.hook = d.hook and mine.source = d.source)
    returning *
), kept as (
    insert into hook_aside (hook, source, partition, epoch, number, tenant, subject, event)
    select hook, source, partition, epoch, number, tenant, event ->> 'subject', event::text::json from gone order by id
    on conflict do nothing
), told as (
    update hook_position p set token = token + 1 from mine
    where p.hook = mine.hook and p.source = mine.source and p.partition = mine.partition
)
select id from gone order by id
"""

DROP = "delete from hook_dead_letter where id = any ($1::bigint[]) returning id"
