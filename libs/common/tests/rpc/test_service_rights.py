"""Which service may call what: every service, every method, in its own name and for others."""

import ast
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import grpc
import pytest
import stylobate.api
from stylobate.api.auth.v1 import auth_service_pb2
from stylobate.api.auth.v1.auth_service_pb2 import CreateUserRequest
from stylobate.api.auth.v1.auth_service_pb2_grpc import AuthServiceServicer, AuthServiceStub, add_AuthServiceServicer_to_server
from stylobate.errors import StylobateError, TokenInvalidError
from stylobate.identity.service_identity import ServiceIdentity
from stylobate.identity.service_keys import generate_service_keys
from stylobate.rpc import CallerChannel, LocalChannel, LocalServer, RpcAccess, Servicers, standard_interceptors
from stylobate.rpc.call import Call, current_call
from stylobate.service_rights import OPERATOR, OPERATOR_RIGHTS, ServiceRights, callers_of
from stylobate.services import installed_services, key_holders
from stylobate.testing.syntax import tree_of

from .probe import Users


def _methods() -> list[str]:
    """Return the full name of every method of every contract."""
    folder = Path(next(iter(stylobate.api.__path__)))
    names = []
    for file in sorted(folder.rglob("*_service_pb2.py")):
        module = import_module("stylobate.api." + ".".join(file.relative_to(folder).with_suffix("").parts))
        for service in module.DESCRIPTOR.services_by_name.values():
            names += [f"/{service.full_name}/{method.name}" for method in service.methods]
    return names


METHODS = _methods()
RIGHTS = {name: spec.calls for name, spec in installed_services().items()} | {OPERATOR: OPERATOR_RIGHTS}
OWN: dict[str, set[str] | None] = {
    "auth.v1.TokenService": None,
    "auth.v1.AccessService": None,
    "audit.v1.AuditService": {"cli"},
    "audit.v1.AuditService/ListRecords": {"auth", "cli"},
    "auth.v1.ApiKeyService": {"cli"},
    "auth.v1.ApiKeyService/GetApiKey": {"ratelimit"},
    "auth.v1.FirstAdminService/InviteFirstAdmin": {"cli"},
    "auth.v1.GrantService": {"cli"},
    "auth.v1.RoleService": {"cli"},
    "auth.v1.ServiceAccountService": {"cli"},
    "auth.v1.UserPasswordService": {"cli"},
    "auth.v1.UserProfileService": {"cli"},
    "auth.v1.UserService": {"cli"},
    "auth.v1.SigningKeyService": {"cli"},
    "auth.v1.AccountKeyService": {"cli"},
    "state.v1.StateKeyService": {"cli"},
    "auth.v1.UserService/DeleteMe": set(),
    "auth.v1.UserExportService/ExportUser": {"cli"},
    "auth.v1.UserDirectoryService/GetUserProfiles": {"actions"},
    "ratelimit.v1.RateLimitService/CheckLimits": None,
    "ratelimit.v1.RateLimitService/WatchBans": None,
    "ratelimit.v1.RateLimitService/ListRules": {"cli"},
    "ratelimit.v1.RateLimitService/GetUsage": {"cli"},
    "ratelimit.v1.RateLimitService/ResetUsage": {"cli"},
    "ratelimit.v1.RateLimitService/PutBan": {"cli"},
    "ratelimit.v1.RateLimitService/DeleteBan": {"cli"},
    "ratelimit.v1.RateLimitService/ListBans": {"cli"},
    "ratelimit.v1.RateLimitService/GetBan": {"auth"},
    "events.v1.EventService": {"actions", "realtime", "cli"},
    "state.v1.StateService": {"actions"},
    "state.v1.StateKeepingService": {"cli"},
    "state.v1.StateKeepingService/ForgetOwner": {"auth"},
    "state.v1.OwnedStateService/ListOwnedStates": {"auth"},
    "state.v1.ProjectionService": {"actions"},
    "state.v1.ProjectionService/ListProjections": {"cli"},
    "state.v1.ProjectionService/RebuildProjection": {"actions", "cli"},
    "actions.v1.ModuleService/CallHook": {"state"},
    "actions.v1.ModuleService/ForgetUser": {"auth"},
    "actions.v1.UserDataService/ExportUserData": {"auth"},
    "actions.v1.ModuleService/UpgradeStates": {"state"},
    "actions.v1.ActionService/ListActions": {"gateway"},
    "realtime.v1.RealtimeService/Publish": {"actions"},
    "auth.v1.AuthService/CreateUser": {"cli"},
}
"""Who may call what in its own name, None being every service; everything else nobody."""


@pytest.mark.parametrize("method", METHODS)
def test_every_method_says_who_may_call_it_in_its_own_name(method: str):
    """A key opens what its service needs, and nothing else: of every method of every contract."""
    name = method.removeprefix("/stylobate.api.")
    expected = OWN.get(name, OWN.get(name.partition("/")[0], set()))
    assert callers_of(method, RIGHTS)[0] == expected


def _called(service: str) -> set[str]:
    """Return the names of all attributes that the code of a service, or what it runs of the library, reads."""
    code = [Path(find_spec(f"stylobate_{service}").origin).parent] if service != "cli" else []  # type: ignore[union-attr,arg-type]
    library = Path(next(iter(stylobate.__path__)))
    code += [library / part for part in _LIBRARY.get(service, ())]
    return {name for folder in code for name in _attributes(folder)}


@cache
def _attributes(folder: Path) -> frozenset[str]:
    trees = (tree_of(file.read_text()) for file in folder.rglob("*.py"))
    return frozenset(node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute))


_LIBRARY = {
    "actions": ("modules", "hooks", "clients", "outbox"),
    "realtime": ("hooks", "outbox"),
    "cli": ("launcher", "hooks", "outbox"),
    "auth": ("clients",),
}
"""What of the library calls other services in whose name; what every process calls everyone may."""


@pytest.mark.parametrize("service", key_holders())
def test_every_right_is_used(service: str):
    """A key opens methods only that its service's code calls: a right that nobody uses serves whoever stole the key."""
    rights = RIGHTS[service]
    opened = {
        method
        for method in METHODS
        for name in (method.removeprefix("/stylobate.api."),)
        if {name, name.partition("/")[0]} & (rights.own | rights.through)
    }
    assert {method for method in opened if method.rpartition("/")[2] not in _called(service)} == set()


def test_every_right_names_a_method():
    """A right for something that is not there would be a mistake in writing."""
    services = {method.removeprefix("/stylobate.api.").partition("/")[0] for method in METHODS}
    known = services | {method.removeprefix("/stylobate.api.") for method in METHODS}
    for rights in RIGHTS.values():
        assert rights.own | rights.through <= known
    assert ServiceRights().through == frozenset()


class _Accounts(AuthServiceServicer):
    """Creates administrators."""

    async def CreateUser(self, request: Any, context: Any) -> Any:  # noqa: N802  the RPC's name
        return AuthServiceStub  # never reached by whom it must not reach


@pytest.fixture
def identities(tmp_path: Path) -> dict[str, ServiceIdentity]:
    """Return the real identity of every service."""
    generate_service_keys(tmp_path, key_holders())
    return {name: ServiceIdentity.load(name, tmp_path / f"{name}.pem", tmp_path) for name in key_holders()}


async def _reason(identities: dict[str, ServiceIdentity], service: str, audience: str = "auth", call: Call | None = None) -> str:
    """Ask auth to create somebody; return the reason of the refusal, or of what the handler did instead."""
    pipeline = standard_interceptors(Users(), identities["auth"], hosted=("auth", "state"), rights=RIGHTS)
    servicers = Servicers(pipeline)
    methods = auth_service_pb2.DESCRIPTOR.services_by_name["AuthService"].methods_by_name
    servicers.register(add_AuthServiceServicer_to_server, _Accounts(), dict.fromkeys(methods, RpcAccess.AUTHENTICATED), "auth")
    server = LocalServer(servicers)
    await server.start()
    channel = CallerChannel(LocalChannel(server), identities[service].to(audience))
    before = current_call.set(call)
    try:
        await AuthServiceStub(channel).CreateUser(CreateUserRequest(email="root@example.com", roles=["admin"]))
    except StylobateError as error:
        return error.reason
    finally:
        current_call.reset(before)
    return ""


REACHED = "INTERNAL"
"""What the handler above fails with once it is reached."""


@pytest.mark.parametrize("service", key_holders())
async def test_one_key_creates_administrators(identities: dict[str, ServiceIdentity], service: str):
    """Of all services the operator's command alone creates accounts, and in its own name."""
    assert await _reason(identities, service) == (REACHED if service == "cli" else "SERVICE_NOT_ALLOWED")
    for_somebody = Call(act_for="somebody")
    assert await _reason(identities, service, call=for_somebody) == (REACHED if service == "cli" else "SERVICE_NOT_ALLOWED")
    passed_on = Call(authorization="Bearer user:7")
    assert await _reason(identities, service, call=passed_on) == "SERVICE_NOT_ALLOWED"  # no route of the gateway does so


@pytest.mark.parametrize("audience", [*(name for name in key_holders() if name != "auth"), "", "stylobate", "AUTH"])
async def test_a_token_is_good_at_one_service(identities: dict[str, ServiceIdentity], audience: str):
    """A token made for another service is refused, which the caller's client hears as 503: it did nothing wrong."""
    assert await _reason(identities, "cli", audience) == "SERVICE_TOKEN_REFUSED"
    with pytest.raises(TokenInvalidError):
        identities["auth"].verify(identities["cli"].token(audience))


def test_the_error_is_the_platforms_not_the_callers():
    """An inner failure is 503 over HTTP."""
    refused = StylobateError.registry["SERVICE_TOKEN_REFUSED"]()
    assert (refused.code, refused.http_status) == (grpc.StatusCode.UNAVAILABLE, 503)
