-- What the statement of a batch calls when a transaction would be written in part: another inserted one of its keys after the
-- statement began. Nothing of the statement happens, and it is sent again: the row is there to be seen then, and stays.
create function state_overtaken() returns void language plpgsql as $$
begin
    raise exception 'an object of a transaction was created meanwhile' using errcode = 'serialization_failure';
end
$$;
