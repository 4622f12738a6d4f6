-- Who is banned. A row stays after its ban is over: followers must hear that it was lifted, and the next automatic ban of the
-- subject is longer. The tenant is first in every key.
create table ban (
    tenant text not null,
    level text not null,
    subject text not null,
    reason text not null,
    rule text not null,
    actor text not null,
    strikes integer not null,
    started_at timestamptz not null,
    until timestamptz,
    lifted_at timestamptz,
    forget_at timestamptz,
    changed_at timestamptz not null default now(),
    primary key (tenant, level, subject)
);

create index ban_by_change on ban (changed_at);
create index ban_by_forgetting on ban (forget_at);
