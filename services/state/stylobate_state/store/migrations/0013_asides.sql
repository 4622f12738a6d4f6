-- What the log keeps of a change for watches with filters: the indexed fields as they were, and those that the object itself has also
-- as they are. `fields`: of each field in the data its name and the members that lead to it, then the names of the others. A field
-- without a value is null; one that is longer than any index takes is left out. Times are microseconds since 1970, no owner is null.
-- `data` is null where nothing was alive before. stylobate_state.aside does the same.
create function state_aside(
    fields jsonb, data jsonb, owner_was text, created_was timestamptz, updated_was timestamptz,
    owner text, created timestamptz, updated timestamptz
) returns jsonb language plpgsql immutable parallel safe as $$
declare
    own jsonb := fields -> 1;
    is_live boolean := data is not null;
    was jsonb := '{}';
    now_is jsonb := '{}';
    path jsonb;
    value jsonb;
begin
    if is_live then
        for i in 0 .. jsonb_array_length(fields -> 0) - 1 loop
            path := fields -> 0 -> i;
            value := data -> (path ->> 1);
            for step in 2 .. jsonb_array_length(path) - 1 loop
                value := value -> (path ->> step);
            end loop;
            if value is null or jsonb_typeof(value) in ('object', 'array') then
                value := 'null';
            end if;
            if octet_length(value::text) <= 1000 then
                was := was || jsonb_build_object(path ->> 0, value);
            end if;
        end loop;
    end if;
    if jsonb_array_length(own) = 0 then
        return jsonb_build_object('was', was);
    end if;
    if own ? 'owner' then
        now_is := now_is || jsonb_build_object('owner', nullif(owner, ''));
        if is_live then
            was := was || jsonb_build_object('owner', nullif(owner_was, ''));
        end if;
    end if;
    if own ? 'created_at' then
        now_is := now_is || jsonb_build_object('created_at', (extract(epoch from created) * 1000000)::bigint);
        if is_live then
            was := was || jsonb_build_object('created_at', (extract(epoch from created_was) * 1000000)::bigint);
        end if;
    end if;
    if own ? 'updated_at' then
        now_is := now_is || jsonb_build_object('updated_at', (extract(epoch from updated) * 1000000)::bigint);
        if is_live then
            was := was || jsonb_build_object('updated_at', (extract(epoch from updated_was) * 1000000)::bigint);
        end if;
    end if;
    return jsonb_build_object('was', was, 'is', now_is);
end
$$;
