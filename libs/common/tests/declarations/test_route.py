"""Routes of actions: their form, which of them stand in each other's way, and what a URL can say."""

import pytest
from stylobate.declarations.parameters import RouteInput
from stylobate.declarations.route import Route

ACTION = "  shop.{name}: {{ handler: x, access: public, route: {route} }}\n"


@pytest.mark.parametrize(
    ("text", "segments", "names"),
    [
        ("GET /orders", ("orders",), ()),
        ("GET /orders/{order_id}", ("orders", ""), ("order_id",)),
        ("POST /a/{b}/c/{D_1}", ("a", "", "c", ""), ("b", "D_1")),
        ("PATCH /v1orders/größe.x~y", ("v1orders", "größe.x~y"), ()),
    ],
)
def test_a_path_is_names_and_parameters(text, segments, names):
    """A route prints as it was written."""
    route = Route.parse(text)
    assert (route.segments, route.names, str(route)) == (segments, names, text)


@pytest.mark.parametrize(
    "path",
    [
        "/", "orders", "/orders/", "//orders", "/orders?x", "/orders#x", "/a/../b", "/a/.", "/a%20b", "/a b", "/{id}", "/{id}/x",
        "/a/{id", "/a/id}", "/a/{}", "/a/{1}", "/a/{a-b}", "/a/{id}.json", "/a/x{id}", "/a/{id:int}", "/a/{id}/{id}", "/a/<id>",
        "/a/*", "/a\\b", '/a"b', "/v1", "/v1/x", "/docs/x", "/problems/{x}", "/static-offline-docs/x", "/.well-known/{x}",
    ],
)  # fmt: skip
def test_other_paths_are_refused(path):
    """What no request could be matched against without guessing, or what is the platform's own, is not a route."""
    with pytest.raises(ValueError, match=r".+"):
        Route.parse(f"GET {path}")


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ("GET /a", "GET /a", "matches the same requests as"),
        ("GET /a/{x}", "GET /a/{y}", "matches the same requests as"),
        ("GET /a/{x}", "POST /a/{y}", "names its parameters otherwise than"),
        ("GET /a/{x}/c", "GET /a/b/{y}", "neither is the more precise"),
        ("GET /a/{x}", "POST /a/{x}", ""),
        ("GET /a/{x}", "GET /a/b", ""),
        ("GET /a/{x}/{y}", "GET /a/b/{y}", ""),
        ("GET /a/{x}/c", "POST /a/b/{y}", ""),
        ("GET /a/{x}/c", "GET /a/{x}/d", ""),
        ("GET /a/{x}", "GET /a/{x}/b", ""),
        ("GET /a", "GET /b", ""),
    ],
)
def test_routes_that_one_request_could_mean_are_in_conflict(one, other, message):
    """Whichever comes first; not where a name says which is meant."""
    for first, second in ((one, other), (other, one)):
        conflict = Route.parse(first).conflict(Route.parse(second))
        assert message in conflict if message else not conflict


def test_the_later_of_two_routes_is_named_also_of_two_modules(modules):
    """With both places."""
    modules.write(
        "shop",
        actions="actions:\n"
        + ACTION.format(name="a", route='"GET /orders/{x}"').replace(
            "access", "input: { type: object, properties: { x: { type: string } } }, access"
        ),
    )
    modules.write(
        "zoo",
        actions=("actions:\n" + ACTION.format(name="b", route='"GET /orders/{y}"'))
        .replace("shop.", "zoo.")
        .replace("access", "input: { type: object, properties: { y: { type: string } } }, access"),
    )
    (finding,) = modules.findings()
    assert finding.startswith(
        "zoo/actions.yaml:2: the route `GET /orders/{y}` of zoo.b matches the same requests as `GET /orders/{x}`"
    )
    assert "shop/actions.yaml:2" in finding


TEXT = {"type": "string"}


def fields(**properties):
    """Return the schema of an object with these fields."""
    return {
        "type": "object",
        "properties": properties,
        "$defs": {"Name": TEXT, "Pair": {"type": "object"}, "Kind": {"enum": ["a"]}},
    }


@pytest.mark.parametrize(
    ("schema", "read_as"),
    [
        (TEXT, "string"),
        ({"type": "string", "format": "date"}, "string"),
        ({"type": ["integer", "null"]}, "integer"),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, "number"),
        ({"type": ["integer", "number"]}, "number"),
        ({"anyOf": [{"type": "number"}, {"type": "string", "pattern": "x"}]}, "string"),
        ({"enum": ["a", None]}, "string"),
        ({"enum": [1, 2]}, "integer"),
        ({"const": True}, "boolean"),
        ({"$ref": "#/$defs/Name"}, "string"),
        ({"allOf": [{"$ref": "#/$defs/Kind"}], "default": "a"}, "string"),
        ({"type": "array", "items": {"type": "integer"}}, "list of integer"),
        ({"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/Kind"}}, {"type": "null"}]}, "list of string"),
    ],
)
def test_a_field_is_read_as_its_one_type(schema, read_as):
    """By `type`, by its values, through references and beside null."""
    parameter = RouteInput.of(Route.parse("GET /x"), fields(f=schema)).query["f"]
    assert ("list of " if parameter.is_list else "") + parameter.type == read_as


@pytest.mark.parametrize(
    ("route", "schema", "message"),
    [
        ("GET /x", fields(f={"type": "object"}), "`f` is an object, which a URL cannot hold"),
        ("DELETE /x", fields(f={"$ref": "#/$defs/Pair"}), "`f` is an object, which a URL cannot hold"),
        ("GET /x", fields(f={"type": "array", "items": {"type": "object"}}), "`f` is a list of objects or lists"),
        ("GET /x", fields(f={"type": "array", "items": {"type": "array"}}), "`f` is a list of objects or lists"),
        ("GET /x", fields(f={"type": "array"}), "`f` has items of no `type`"),
        ("GET /x", fields(f={"type": ["array", "string"], "items": TEXT}), "`f` may be a list or something else"),
        ("GET /x", fields(f={"type": ["integer", "string"]}), "`f` may be of several types"),
        ("GET /x", fields(f={"enum": ["1", 1]}), "`f` may be of several types"),
        ("GET /x", fields(f={"minLength": 1}), "`f` has no `type`"),
        ("GET /x", fields(f=True), "`f` has no `type`"),
        ("GET /x", TEXT, "it must be an object with `properties`"),
        ("GET /x", {"type": "array", "items": TEXT}, "it must be an object with `properties`"),
        ("GET /x", {**fields(f=TEXT), "required": ["g"]}, "the input needs `g`"),
        ("GET /x/{g}", fields(f=TEXT), "`{g}` is not a field of the input"),
        ("POST /x/{g}", fields(f=TEXT), "`{g}` is not a field of the input"),
        ("POST /x/{g}", None, "`{g}` is not a field of the input"),
        ("POST /x/{f}", fields(f={"type": "object"}), "`f` is an object"),
        ("PUT /x/{f}", fields(f={"type": "array", "items": TEXT}), "`{f}` is a list, which a path cannot hold"),
    ],
)
def test_what_a_url_cannot_say_is_refused(route, schema, message):
    """When the module is loaded, not when somebody calls."""
    with pytest.raises(ValueError, match=r".+") as refused:
        RouteInput.of(Route.parse(route), schema)
    assert message in str(refused.value)


def test_what_a_url_cannot_say_is_a_finding_at_the_route(findings_of):
    """With the line of the route."""
    (finding,) = findings_of(
        actions="actions:\n  shop.find:\n    handler: x\n    access: public\n    route: GET /x\n    input: { type: string }\n"
    )
    assert finding.startswith("shop/actions.yaml:5: GET /x: the input of a GET stands in the URL")
