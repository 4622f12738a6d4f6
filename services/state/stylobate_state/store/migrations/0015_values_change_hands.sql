-- Takes an object out of an index, unless it stays where it is. What the statement of a batch calls: a function that may write looks
-- with a snapshot of its own, so it finds what another entered while the statement waited for the object's row. A `delete` in the
-- statement would leave that behind.
create function state_leave(of_index bigint, of_tenant text, of_key text, stays bytea) returns void language plpgsql as $$
begin
    delete from state_entry e where e.index_id = of_index and e.tenant = of_tenant and e.key = of_key and e.sort is distinct from stays;
end
$$;
