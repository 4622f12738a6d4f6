-- The merge patch (RFC 7396) that makes `after` of `before` and says nothing of what stays; null where none can, since a null in a
-- patch takes a member away. Texts are compared: 1 and 1.0 are two. stylobate_state.merge.delta does the same.
create function state_delta(before jsonb, after jsonb) returns jsonb language plpgsql immutable parallel safe as $$
declare
    patch jsonb := '{}';
    there jsonb;
    part jsonb;
    member record;
begin
    if jsonb_typeof(after) <> 'object' then
        return after;
    end if;
    if jsonb_typeof(before) <> 'object' then
        before := '{}';
    end if;
    for member in select name from jsonb_object_keys(before) as present (name) where not after ? name loop
        patch := patch || jsonb_build_object(member.name, 'null'::jsonb);
    end loop;
    for member in select name, value from jsonb_each(after) as wanted (name, value) loop
        there := before -> member.name;
        if there::text = member.value::text then
            continue;
        end if;
        if jsonb_typeof(member.value) = 'null' then
            return null;
        end if;
        part := state_delta(coalesce(there, 'null'), member.value);
        if part is null then
            return null;
        end if;
        patch := patch || jsonb_build_object(member.name, part);
    end loop;
    return patch;
end
$$;

-- What an event carries beside what all do. `tells`: {"before": bool, "delta": bool, "cause": object or null}; the rest is the object
-- as it was, all of it null where nothing was there.
create function state_beside(tells jsonb, version bigint, status text, data jsonb, schema_version int, after jsonb) returns jsonb
language plpgsql immutable parallel safe as $$
declare
    told jsonb := '{}';
    was jsonb := 'null';
    delta jsonb;
begin
    if (tells -> 'before')::boolean then
        if version is not null then
            was := jsonb_build_object('version', version, 'status', status, 'data', data);
            if schema_version > 1 then
                was := was || jsonb_build_object('schema_version', schema_version);
            end if;
        end if;
        told := told || jsonb_build_object('before', was);
    end if;
    if (tells -> 'delta')::boolean then
        delta := state_delta(coalesce(data, 'null'), after);
        if delta is not null then
            told := told || jsonb_build_object('delta', delta);
        end if;
    end if;
    if jsonb_typeof(tells -> 'cause') = 'object' then
        told := told || jsonb_build_object('cause', tells -> 'cause');
    end if;
    return told;
end
$$;
