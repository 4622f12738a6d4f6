"""Between the managers' plain types and the messages of the API."""

from datetime import timedelta
from pathlib import Path

import orjson
from google.protobuf.duration_pb2 import Duration
from stylobate.api.actions.v1 import action_service_pb2 as actions_pb
from stylobate.api.actions.v1 import module_service_pb2 as modules_pb
from stylobate.clients.limit_outcome import LimitOutcome
from stylobate.declarations.model import ActionDeclaration, JsonSchema, ModuleDeclaration
from stylobate.modules.binding import BoundAction
from stylobate.modules.payload import JSON
from stylobate.modules.refusals import refusals_of

from stylobate_actions.model import ActionReply, ModuleStatus


def to_reply(reply: ActionReply) -> actions_pb.ExecuteActionResponse:
    """Return the message of a reply."""
    limit = _to_rate_limit(reply.limit) if reply.limit is not None else None
    return actions_pb.ExecuteActionResponse(output=reply.output, content_type=JSON, rate_limit=limit, replayed=reply.is_replayed)


def to_action(action: BoundAction) -> actions_pb.Action:
    """Return the action's entry in the catalogue."""
    declaration = action.declaration
    return actions_pb.Action(
        name=action.name,
        module=declaration.module,
        summary=declaration.summary,
        route=declaration.route,
        access=str(declaration.access),
        rate_limit=declaration.rate_limit.text if declaration.rate_limit is not None else "",
        timeout=_to_duration(declaration.timeout),
        input_schema=_to_schema(action.input_schema),
        output_schema=_to_schema(action.output_schema),
        refusals=_to_refusals(Path(declaration.file).parent) if declaration.file else (),
        refuses_keys=not declaration.takes_keys,
    )


def to_left_out(action: ActionDeclaration) -> actions_pb.Action:
    """Return what is told of an action whose module does not run."""
    return actions_pb.Action(name=action.name, module=action.module, route=action.route)


def to_module_refusals(module: ModuleDeclaration) -> actions_pb.ModuleRefusals:
    """Return the reasons of a module."""
    return actions_pb.ModuleRefusals(module=module.name, refusals=_to_refusals(module.folder))


def to_module(status: ModuleStatus) -> modules_pb.Module:
    """Return the message of a module."""
    return modules_pb.Module(
        name=status.name,
        version=status.version,
        description=status.description,
        status=status.status.value,
        detail=status.detail,
        dependencies=status.dependencies,
        actions=status.actions,
    )


def _to_rate_limit(standing: LimitOutcome) -> actions_pb.RateLimit:
    return actions_pb.RateLimit(
        policy=standing.policy,
        quota=standing.quota,
        window=Duration(seconds=standing.window),
        remaining=standing.remaining,
        reset=Duration(seconds=standing.reset),
    )


def _to_refusals(folder: Path) -> list[actions_pb.Refusal]:
    """Return the reasons of the module in the folder."""
    return [actions_pb.Refusal(reason=reason, detail=detail) for reason, detail in refusals_of(folder).items()]


def _to_duration(value: timedelta) -> Duration:
    message = Duration()
    message.FromTimedelta(value)
    return message


def _to_schema(schema: JsonSchema | None) -> bytes:
    return b"" if schema is None else orjson.dumps(schema)
