"""JSON Schemas of the declaration files, for editors: made from the keys that the readers of the files know.

An editor that knows ``yaml-language-server`` finds them by the first line of a file. They say less than ``modules check`` does:
names of keys, kinds of values, the small languages by their form.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from stylobate.declarations import (
    actions_file,
    encrypted,
    ephemeral,
    fields,
    indexes,
    limits_file,
    module_file,
    own_database,
    projections,
    realtime_file,
    states_file,
    timers,
)
from stylobate.declarations.action_resource import PATTERN
from stylobate.declarations.schemas import DIALECT

FOLDER = ".schemas"
"""Where they stand in the folder of modules."""
_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
_TEXTS = {"type": "array", "items": _TEXT, "uniqueItems": True}
_SCHEMA = {"$ref": DIALECT}
_TERMS = "a permission, owner, actions, actions of <module>, authenticated, public"
_ACCESS = {"type": "string", "description": f"terms joined by `or`: {_TERMS}"}
_METHOD = {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_]*$", "description": "a method of the module's class"}
_RATE = {"type": "string", "pattern": "^[0-9]+/(second|minute|hour|day)( gcra| burst [0-9]+)?$", "description": "30/minute"}
_DURATION = {"type": "string", "pattern": "^[0-9]+([.][0-9]+)?(ms|s|m|h|d)$"}
_COUNT = {"type": "integer", "minimum": 1}
_GUARD = {"type": "string", "minLength": 1, "description": "a condition in CEL: data.total > 0"}
_ACTIONS = {"anyOf": [_TEXT, _TEXTS], "description": "actions of the module"}
_STATUS = {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_-]*$"}


def editor_schemas() -> dict[str, dict[str, Any]]:
    """Return the schema of each file by the file's name."""
    return {
        module_file.FILE: _file(_mapping(module_file.KEYS, _MODULE, required=("name",))),
        actions_file.FILE: _file(_mapping(actions_file.KEYS, {"actions": _each(_action()), "schemas": _each(_SCHEMA)})),
        states_file.FILE: _file(
            _mapping(states_file.KEYS, {"namespaces": _each(_namespace()), "projections": _each(_projection())})
        ),
        limits_file.FILE: _file(
            _mapping(limits_file.PLATFORM_KEYS, {"limits": _each(_limit(limits_file.RULE_KEYS)), "bans": _ban()})
        ),
        realtime_file.FILE: _file(_mapping(realtime_file.KEYS, {"namespaces": _each(_channels())})),
    }


_MODULE: dict[str, Any] = {
    "name": {"type": "string", "pattern": "^[a-z][a-z0-9_]*$"},
    "version": _TEXT,
    "description": _TEXT,
    "dependencies": _TEXTS,
    "settings": _SCHEMA,
    "permissions": {"type": "object", "additionalProperties": _TEXT},
    "secrets": {"type": "object", "additionalProperties": _TEXT},
    "roles": {"type": "object", "additionalProperties": _TEXTS},
    "database": {"enum": [*own_database.FOLDERS]},
}


def _action() -> dict[str, Any]:
    shapes = {
        "summary": _TEXT,
        "handler": _METHOD,
        "route": {"type": "string", "pattern": "^(GET|POST|PUT|PATCH|DELETE) /", "description": "POST /orders/{order_id}/pay"},
        "access": {"type": "string", "description": "one permission, authenticated or public"},
        "resource": {"type": "string", "pattern": PATTERN, "description": "state/orders/{order_id}"},
        "rate_limit": {"anyOf": [_RATE, _limit(limits_file.OF_ACTION_KEYS)]},
        "timeout": _DURATION,
        "idempotent": _FLAG,
        "input": _SCHEMA,
        "output": _SCHEMA,
    }
    return _mapping(actions_file.ACTION_KEYS, shapes, required=("handler", "access"))


def _limit(keys: tuple[str, ...]) -> dict[str, Any]:
    per = {"anyOf": [{"enum": [*limits_file.PER]}, {"type": "string", "pattern": "^header:[a-z][a-z0-9-]*$"}]}
    patterns = {"anyOf": [_TEXT, _TEXTS]}
    match = {
        "type": "object",
        "additionalProperties": False,
        "properties": dict.fromkeys(limits_file.MATCH_KEYS, patterns),
        "patternProperties": {"^header:[a-z][a-z0-9-]*$": patterns},
    }
    shapes = {
        "limit": _RATE,
        "per": {"anyOf": [per, {"type": "array", "items": per, "minItems": 1, "uniqueItems": True}]},
        "match": match,
        "cost": _COUNT,
        "shadow": _FLAG,
        "on_redis_down": {"enum": [*limits_file.ON_DOWN]},
        "ban": _ban(),
        "overrides": _each(_RATE),
    }
    return _mapping(keys, shapes, required=("limit",))


def _ban() -> dict[str, Any]:
    return _mapping(limits_file.BAN_KEYS, {"after": _COUNT, **dict.fromkeys(("within", "for", "ceiling"), _DURATION)})


def _projection() -> dict[str, Any]:
    return _mapping(projections.KEYS, {"from": {"anyOf": [_TEXT, _TEXTS]}, "method": _METHOD}, required=projections.KEYS)


def _namespace() -> dict[str, Any]:
    hook = _mapping(
        states_file.HOOK_KEYS, {"method": _METHOD, "on_unavailable": {"enum": ["deny", "allow"]}}, required=("method",)
    )
    sources = {"anyOf": [_STATUS, {"type": "array", "items": _STATUS, "minItems": 1}]}
    carried = {"anyOf": [_TEXTS, {"type": "object"}]}
    shapes = {
        "schema": _SCHEMA,
        "schema_version": {"type": "integer", "minimum": 1},
        "upgrade": _METHOD,
        "initial": _STATUS,
        "access": _mapping(states_file.ACCESS_KEYS, dict.fromkeys(states_file.ACCESS_KEYS, _ACCESS)),
        "transitions": _each(
            _mapping(
                states_file.TRANSITION_KEYS,
                {"from": sources, "to": _STATUS, "access": _ACCESS, "data": carried, "guard": _GUARD, "do": _ACTIONS},
                required=("from", "to"),
            )
        ),
        "timers": {
            "type": "array",
            "items": _mapping(timers.KEYS, {"in": _STATUS, "after": _DURATION, "event": _STATUS}, required=timers.KEYS),
        },
        "on_enter": _each(_ACTIONS),
        "on_exit": _each(_ACTIONS),
        "before": _each({"anyOf": [_METHOD, hook]}),
        "indexes": {"type": "array", "items": _index()},
        "durability": {"enum": [ephemeral.DURABLE, ephemeral.EPHEMERAL]},
        "ttl": _DURATION,
        "history": _COUNT,
        "retention": _mapping(states_file.RETENTION_KEYS, {"deleted": _DURATION}, required=states_file.RETENTION_KEYS),
        "on_owner_deleted": {"enum": [*states_file.ON_OWNER_DELETED]},
        "encrypted_fields": {"type": "array", "items": _TEXT, "uniqueItems": True},
        "encryption": {"enum": [*encrypted.ENCRYPTION]},
        "fields": _each(_mapping(fields.FIELD_KEYS, {**dict.fromkeys(fields.RULES, _ACCESS), "export": _FLAG})),
        "events": _mapping(states_file.EVENT_KEYS, {"data": _event_data()}, required=states_file.EVENT_KEYS),
    }
    return _mapping(states_file.NAMESPACE_KEYS, shapes)


def _event_data() -> dict[str, Any]:
    return {"type": "array", "items": {"enum": [*states_file.EVENT_DATA]}, "uniqueItems": True, "minItems": 1}


def _index() -> dict[str, Any]:
    fields = {"type": "array", "items": _TEXT, "uniqueItems": True, "minItems": 1, "maxItems": indexes.MAX_FIELDS}
    statuses = {"anyOf": [_STATUS, {"type": "array", "items": _STATUS, "uniqueItems": True, "minItems": 1}]}
    where = _mapping(indexes.WHERE_KEYS, {"status": statuses}, required=("status",))
    return _mapping(indexes.INDEX_KEYS, {"fields": fields, "unique": _FLAG, "where": where}, required=("fields",))


def _channels() -> dict[str, Any]:
    access = _mapping(realtime_file.ACCESS_KEYS, {"subscribe": _TEXT, "publish": _TEXT})
    return _mapping(realtime_file.CHANNEL_KEYS, {"access": access, "presence": _FLAG, "join_leave": _FLAG})


def _file(schema: dict[str, Any]) -> dict[str, Any]:
    return {"$schema": DIALECT, **schema}


def _mapping(keys: Iterable[str], shapes: Mapping[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the schema of a section. Raises KeyError for a key that has no shape: whoever adds one gives it one here."""
    schema: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": {key: shapes[key] for key in keys}}
    return schema | ({"required": [*required]} if required else {})


def _each(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": schema}
