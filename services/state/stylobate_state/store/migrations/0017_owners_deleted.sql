-- An event without a person's id: who acted, whose the object was, and whose before. What happened stays.
create function state_without(data jsonb, person text) returns jsonb language sql immutable parallel safe as $$
    select data || coalesce(
        (
            select jsonb_object_agg(name, '""'::jsonb)
            from unnest(array['actor', 'owner', 'previous_owner']) as member (name)
            where data ->> name = person
        ),
        '{}'::jsonb
    )
$$;
