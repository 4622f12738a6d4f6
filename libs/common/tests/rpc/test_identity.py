"""Who a call is from, by what it brings and how far the method is open."""

from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import grpc
import pytest
from stylobate.api.actions.v1.module_service_pb2 import ListModulesRequest
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub, add_ModuleServiceServicer_to_server
from stylobate.identity import ANONYMOUS, Principal, PrincipalKind
from stylobate.identity.service_identity import ServiceIdentity
from stylobate.identity.service_keys import generate_service_keys
from stylobate.rpc import LocalChannel, LocalServer, RpcAccess, Servicers, from_rpc_error
from stylobate.rpc.call import Call, HandedOn, call, passed_on
from stylobate.rpc.caller import outgoing
from stylobate.rpc.interceptors import CallInterceptor, IdentityInterceptor, ServiceCallers
from stylobate.telemetry import is_sampled

from .probe import Probe, Services, Users

USER = ("authorization", "Bearer user:7")
BAD_USER = ("authorization", "Bearer nobody")
BASIC = ("authorization", "Basic dXNlcjpwYXNz")
SERVICE = ("stylobate-service-token", "service:state")
BAD_SERVICE = ("stylobate-service-token", "forged")
ACT_FOR = ("stylobate-act-for", "9")
LONG_TENANT = ("stylobate-act-for-tenant", "t" * 129)
DEEP = ("stylobate-hook-depth", "4")
OWN_NAME = ("stylobate-own-name", "true")
MODULE = ("stylobate-module", "shop")
KEY = ("x-api-key", "stylo_7")


async def _stub(access: RpcAccess, users: Any, services: Any, edge: Any = None) -> Any:
    servicers = Servicers([CallInterceptor(), IdentityInterceptor(users, ServiceCallers(services), edge=edge)])
    servicers.register(
        add_ModuleServiceServicer_to_server,
        Probe(),
        {"ListModules": access, "CallHook": access, "UpgradeStates": access, "ForgetUser": access},
        "actions",
    )
    server = LocalServer(servicers)
    await server.start()
    return ModuleServiceStub(LocalChannel(server))


async def _answer(access: RpcAccess, *metadata: tuple[str, str], users: Any = None, services: Any = None) -> str:
    """Return ``kind:id:via:act_for`` as the handler saw it, or the reason of the refusal."""
    stub = await _stub(access, users or Users(), services or Services())
    try:
        response = await stub.ListModules(ListModulesRequest(), metadata=metadata)
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error).reason
    return response.next_page_token


class Keeping(Probe):
    """Keeps whom it saw."""

    async def ListModules(self, request: Any, context: Any) -> Any:  # noqa: N802  the generated name
        """Keep the caller."""
        self.requests.append(call().principal)
        return await super().ListModules(request, context)


class KeepingCalls(Probe):
    """Keeps the calls that it served."""

    async def ListModules(self, request: Any, context: Any) -> Any:  # noqa: N802  the generated name
        """Keep the call."""
        self.requests.append(call())
        return await super().ListModules(request, context)


async def _principals(*calls: tuple[tuple[str, str], ...]) -> list[Principal]:
    """Return whom the handler saw in each of the calls, made in turn to one server."""
    probe, servicers = Keeping(), Servicers([CallInterceptor(), IdentityInterceptor(Users(), ServiceCallers(Services()))])
    access = dict.fromkeys(("ListModules", "CallHook", "UpgradeStates", "ForgetUser"), RpcAccess.OPTIONAL)
    servicers.register(add_ModuleServiceServicer_to_server, probe, access, "actions")
    server = LocalServer(servicers)
    await server.start()
    stub = ModuleServiceStub(LocalChannel(server))
    for metadata in calls:
        await stub.ListModules(ListModulesRequest(), metadata=metadata)
    return [seen for seen in probe.requests if isinstance(seen, Principal)]


PUBLIC, OPTIONAL, AUTHENTICATED, ONLY_SERVICES = RpcAccess.PUBLIC, RpcAccess.OPTIONAL, RpcAccess.AUTHENTICATED, RpcAccess.SERVICE
NOBODY = "anonymous:::"


CALLERS = [
    (PUBLIC, (), NOBODY),
    (PUBLIC, (BAD_USER,), NOBODY),
    (PUBLIC, (BAD_SERVICE,), "SERVICE_TOKEN_INVALID"),
    (PUBLIC, (BAD_USER, SERVICE), "anonymous::state:"),
    (PUBLIC, (SERVICE, OWN_NAME), "anonymous::state:"),
    (OPTIONAL, (), NOBODY),
    (OPTIONAL, (USER,), "user:7::"),
    (OPTIONAL, (USER, SERVICE), "user:7:state:"),
    (OPTIONAL, (SERVICE,), "anonymous::state:"),
    (OPTIONAL, (SERVICE, OWN_NAME), "service:service:state:state:"),
    (OPTIONAL, (OWN_NAME,), NOBODY),
    (OPTIONAL, (BAD_USER,), "TOKEN_INVALID"),
    (OPTIONAL, (BAD_SERVICE,), "SERVICE_TOKEN_INVALID"),
    (OPTIONAL, (USER, BAD_SERVICE), "SERVICE_TOKEN_INVALID"),
    (OPTIONAL, (BASIC,), "TOKEN_INVALID"),
    (OPTIONAL, (ACT_FOR,), NOBODY),
    (AUTHENTICATED, (), "UNAUTHENTICATED"),
    (AUTHENTICATED, (ACT_FOR,), "UNAUTHENTICATED"),
    (AUTHENTICATED, (USER,), "user:7::"),
    (AUTHENTICATED, (SERVICE,), "UNAUTHENTICATED"),
    (AUTHENTICATED, (SERVICE, OWN_NAME), "service:service:state:state:"),
    (AUTHENTICATED, (USER, SERVICE, OWN_NAME), "user:7:state:"),
    (AUTHENTICATED, (SERVICE, ACT_FOR), "service:service:state:state:9"),
    (AUTHENTICATED, (USER, ACT_FOR), "user:7::"),
    (AUTHENTICATED, (USER, SERVICE, ACT_FOR), "user:7:state:"),
    (ONLY_SERVICES, (), "UNAUTHENTICATED"),
    (ONLY_SERVICES, (USER,), "PERMISSION_DENIED"),
    (ONLY_SERVICES, (SERVICE,), "anonymous::state:"),
    (ONLY_SERVICES, (SERVICE, OWN_NAME), "service:service:state:state:"),
    (ONLY_SERVICES, (USER, SERVICE), "user:7:state:"),
    (ONLY_SERVICES, (BAD_USER, SERVICE), "TOKEN_INVALID"),
    (ONLY_SERVICES, (BAD_SERVICE,), "SERVICE_TOKEN_INVALID"),
    *((access, (SERVICE, DEEP), "HOOK_RECURSION") for access in RpcAccess),
    *((access, (SERVICE, SERVICE), "METADATA_REPEATED") for access in RpcAccess),
    *((access, (SERVICE, ACT_FOR, LONG_TENANT), "METADATA_TOO_LONG") for access in RpcAccess if access is not PUBLIC),
    (PUBLIC, (SERVICE, ACT_FOR, LONG_TENANT), "anonymous::state:"),
    (AUTHENTICATED, (USER, SERVICE, ACT_FOR, LONG_TENANT), "user:7:state:"),
]
"""How far a method is open, what a call brings, and whom the handler sees, or the reason of the refusal."""


@pytest.mark.parametrize(("access", "metadata", "expected"), CALLERS)
async def test_access(access: RpcAccess, metadata: tuple[tuple[str, str], ...], expected: str):
    """Each method is open as far as it says; act_for and own name count beside a service's token only, never beside a bearer.

    A service's token alone lends no rights: what a gateway passes on for nobody stays nobody's.
    """
    assert await _answer(access, *metadata) == expected


@pytest.mark.parametrize(
    "metadata",
    [(SERVICE, OWN_NAME), (SERVICE, ACT_FOR), HandedOn(SERVICE[1], None), HandedOn(SERVICE[1], Call(act_for="9"))],
)
async def test_what_is_open_to_all_calls_on_for_nobody(metadata: Any):
    """A service that calls it in its own name, or for somebody, lends none of that to what its handler calls."""
    probe, servicers = KeepingCalls(), Servicers([CallInterceptor(), IdentityInterceptor(Users(), ServiceCallers(Services()))])
    access = dict.fromkeys(("ListModules", "CallHook", "UpgradeStates", "ForgetUser"), PUBLIC)
    servicers.register(add_ModuleServiceServicer_to_server, probe, access, "actions")
    server = LocalServer(servicers)
    await server.start()
    await ModuleServiceStub(LocalChannel(server)).ListModules(ListModulesRequest(), metadata=metadata)
    seen = probe.requests[0]
    assert not {"stylobate-own-name", "stylobate-act-for"} & passed_on("", seen).keys()


@pytest.mark.parametrize(
    ("metadata", "module"),
    [
        ((SERVICE, MODULE), "shop"),
        ((SERVICE, OWN_NAME, MODULE), "shop"),
        ((SERVICE, ACT_FOR, MODULE), "shop"),
        ((SERVICE, USER, MODULE), "shop"),
        ((SERVICE, USER), ""),
        ((USER, MODULE), ""),
        ((MODULE,), ""),
    ],
)
async def test_a_module_is_a_services_to_say(metadata: tuple[tuple[str, str], ...], module: str):
    """Whose code calls is believed of services; of anyone else it counts for nothing."""
    (seen,) = await _principals(metadata)
    assert seen.module == module


async def test_a_module_is_not_kept_for_another():
    """One user through the same service, in the code of two modules, is two principals; each is made once."""
    made = await _principals(*((SERVICE, USER, ("stylobate-module", name)) for name in ("shop", "till", "shop")))
    assert [one.module for one in made] == ["shop", "till", "shop"]


DEPTHS = ("4", "9", "99999999", "-1", "+1", "01", "1.0", " 1", "1 ", "x", "", "\u0661", "1" * 5000, "True")


@pytest.mark.parametrize("access", [PUBLIC, OPTIONAL])
@pytest.mark.parametrize("depth", ["0", "1", "2", "3"])
async def test_hook_depth_of_a_service(access: RpcAccess, depth: str):
    """A service says how deep in hooks its call is: one digit."""
    assert await _answer(access, SERVICE, ("stylobate-hook-depth", depth)) == "anonymous::state:"


@pytest.mark.parametrize("access", [PUBLIC, OPTIONAL])
@pytest.mark.parametrize("depth", DEPTHS)
async def test_a_depth_that_is_none_is_refused(access: RpcAccess, depth: str):
    """A hook under three others is refused; so is whatever is not one plain digit."""
    assert await _answer(access, SERVICE, ("stylobate-hook-depth", depth)) == "HOOK_RECURSION"


@pytest.mark.parametrize("access", [PUBLIC, OPTIONAL])
@pytest.mark.parametrize("depth", ["2", "3", *DEPTHS])
async def test_hook_depth_of_anyone_else_counts_for_nothing(access: RpcAccess, depth: str):
    """Nobody switches hooks off, or fails, by saying that they are in one."""
    caller = (USER,) if access is OPTIONAL else ()
    seen = "user:7::" if access is OPTIONAL else NOBODY
    assert await _answer(access, *caller, ("stylobate-hook-depth", depth)) == seen


@pytest.mark.parametrize("text", ["false", "True", "TRUE", "1", "yes", "", " true", "true,true", "no"])
async def test_only_the_exact_word_is_ones_own_name(text: str):
    """Whatever is not `true` lends a service no rights."""
    assert await _answer(OPTIONAL, SERVICE, ("stylobate-own-name", text)) == "anonymous::state:"


ONCE = {
    "authorization": ("Bearer user:7", "Bearer user:8"),
    "stylobate-service-token": ("service:state", "service:gateway"),
    "stylobate-act-for": ("7", "8"),
    "stylobate-act-for-tenant": ("a", "b"),
    "stylobate-own-name": ("true", "false"),
    "stylobate-hook-depth": ("0", "1"),
    "stylobate-module": ("shop", "till"),
    "stylobate-client-address": ("192.0.2.1", "192.0.2.2"),
    "stylobate-client-agent": ("a", "b"),
}


@pytest.mark.parametrize("access", list(RpcAccess))
@pytest.mark.parametrize("key", ONCE)
@pytest.mark.parametrize("same", [True, False])
async def test_what_says_who_calls_comes_once(access: RpcAccess, key: str, same: bool):
    """Of two values nobody may choose which one counts, and no service and no order makes a difference."""
    first, second = ONCE[key]
    twice = ((key, first), (key, first if same else second))
    alone = () if key == "stylobate-service-token" else (SERVICE,)
    for metadata in ((*twice, *alone), (*reversed(twice), *alone), twice):
        assert await _answer(access, *metadata) == "METADATA_REPEATED"


async def test_other_keys_may_come_twice():
    """What has nothing to do with who calls is as gRPC has it."""
    assert await _answer(OPTIONAL, USER, ("x-colour", "red"), ("x-colour", "blue")) == "user:7::"


async def test_whom_a_service_acts_for_keeps_the_tenant():
    """The subject's tenant comes with it, beside a service's token only; none is the default one; it is passed on."""
    stub = await _stub(OPTIONAL, Users(), Services())
    tenant = ("stylobate-act-for-tenant", "acme")

    async def seen(*metadata: tuple[str, str]) -> str:
        return (await stub.ListModules(ListModulesRequest(), metadata=metadata)).modules[0].name

    assert await seen(SERVICE, ACT_FOR, tenant) == "acme"
    assert await seen(SERVICE, ACT_FOR) == "default"
    assert await seen(SERVICE, OWN_NAME, tenant) == "default"
    assert await seen(ACT_FOR, tenant) == "default"
    assert await seen(USER, SERVICE, ACT_FOR, tenant) == "default"
    passed_on = outgoing(None, Call(act_for="9", act_for_tenant="acme"))
    assert await seen(SERVICE, *passed_on) == "acme"
    longest = "t" * 128
    assert await seen(SERVICE, ACT_FOR, ("stylobate-act-for-tenant", longest)) == longest


async def test_a_token_is_verified_once_and_asked_for_each_time():
    """A known token costs a look-up; one that is taken back is refused at the very next call, through a service too."""
    users = Users()
    stub = await _stub(AUTHENTICATED, users, Services())
    for _ in range(3):
        response = await stub.ListModules(ListModulesRequest(), metadata=(USER, SERVICE))
        assert response.next_page_token == "user:7:state:"
    assert users.verified == 1
    users.revoked.add("user:7")
    call = stub.ListModules(ListModulesRequest(), metadata=(USER, SERVICE))
    assert await call.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_principal_that_changed_is_not_kept():
    """When a token is verified anew, with other roles say, the caller through a service is the new one."""
    users = Users()
    stub = await _stub(AUTHENTICATED, users, Services())
    await stub.ListModules(ListModulesRequest(), metadata=(USER, SERVICE))
    users.known["user:7"] = Principal(kind=PrincipalKind.USER, id="7", tenant="other")
    response = await stub.ListModules(ListModulesRequest(), metadata=(USER, SERVICE))
    assert response.modules[0].name == "other"


async def test_with_real_service_keys(tmp_path: Path):
    """A service's own signature is accepted by another service, and one of an unknown key is not."""
    generate_service_keys(tmp_path, ["state", "auth"])
    state = ServiceIdentity.load("state", tmp_path / "state.pem", tmp_path)
    auth = ServiceIdentity.load("auth", tmp_path / "auth.pem", tmp_path)
    assert await _answer(ONLY_SERVICES, ("stylobate-service-token", state.token("actions")), services=auth) == "anonymous::state:"
    elsewhere = tmp_path / "elsewhere"
    generate_service_keys(elsewhere, ["state"])
    stranger = ServiceIdentity.load("state", elsewhere / "state.pem", elsewhere)
    assert (
        await _answer(ONLY_SERVICES, ("stylobate-service-token", stranger.token("actions")), services=auth)
        == "SERVICE_TOKEN_INVALID"
    )


@pytest.mark.parametrize(
    ("access", "metadata", "expected"),
    [
        (AUTHENTICATED, (KEY,), "user:7::"),
        (AUTHENTICATED, (("authorization", "Bearer stylo_7"),), "user:7::"),
        (AUTHENTICATED, (("authorization", "Bearer stylo_7"), SERVICE), "user:7:state:"),
        (RpcAccess.PUBLIC, (KEY, USER), "anonymous:::"),
        (AUTHENTICATED, (KEY, USER), "API_KEY_INVALID"),
        (AUTHENTICATED, (KEY, KEY), "METADATA_REPEATED"),
        (AUTHENTICATED, (("x-api-key", "user:7"),), "API_KEY_INVALID"),
        (AUTHENTICATED, (("x-api-key", ""),), "API_KEY_INVALID"),
        (AUTHENTICATED, (KEY, SERVICE), "UNAUTHENTICATED"),
        (AUTHENTICATED, (("x-api-key", "stylo_elsewhere"),), "API_KEY_PLACE_REFUSED"),
        (ONLY_SERVICES, (KEY,), "PERMISSION_DENIED"),
    ],
)
async def test_a_key_under_its_own_name(access, metadata, expected):
    """A client's, and one credential only; services pass it on as the bearer token that it is, and look at no place."""
    users = Users()
    users.known["stylo_7"] = Principal(PrincipalKind.USER, "7", is_key=True)
    users.known["stylo_elsewhere"] = Principal(PrincipalKind.USER, "7", is_key=True, networks=(ip_network("192.0.2.0/24"),))
    assert await _answer(access, *metadata, users=users) == expected


class Tally:
    """Notes what the edge is charged, and how many tokens had been verified by then."""

    def __init__(self, users: Users) -> None:
        self._users = users
        self.charged: list[str] = []

    async def charge(self, address: str, principal: Principal = ANONYMOUS, *, is_address_charged: bool = False) -> None:
        """Note who is charged."""
        address, user = "" if is_address_charged else address, principal.id
        self.charged.append(" and ".join(filter(None, (address, user))) if user else f"{address} after {self._users.verified}")


@pytest.mark.parametrize("access", list(RpcAccess))
@pytest.mark.parametrize(
    ("metadata", "expected", "expected_public"),
    [
        ((), ["local after 0"], None),
        ((USER,), ["local after 0", "7"], ["local after 0"]),
        ((BAD_USER,), ["local after 0"], None),
        ((BASIC,), ["local after 0"], None),
        ((BAD_SERVICE,), ["local after 0"], None),
        ((USER, BAD_SERVICE), ["local after 0"], None),
        ((ACT_FOR, OWN_NAME), ["local after 0"], None),
        ((SERVICE,), [], None),
        ((SERVICE, OWN_NAME), [], None),
        ((USER, SERVICE), [], None),
    ],
)
async def test_who_is_no_service_is_charged_before_anything_is_verified(access, metadata, expected, expected_public):
    """Whatever a call brings and however open its method: once by address, ahead of its token; services are free."""
    users = Users()
    tally = Tally(users)
    stub = await _stub(access, users, Services(), tally)
    with suppress(grpc.aio.AioRpcError):
        await stub.ListModules(ListModulesRequest(), metadata=metadata)
    is_public = access is RpcAccess.PUBLIC and expected_public is not None
    assert tally.charged == (expected_public if is_public else expected)


async def test_a_known_token_is_charged_in_one_go():
    """Whose token was verified before is charged with their address; once it is revoked the address alone."""
    users = Users()
    tally = Tally(users)
    stub = await _stub(OPTIONAL, users, Services(), tally)
    for _ in range(2):
        await stub.ListModules(ListModulesRequest(), metadata=(USER,))
    users.revoked.add("user:7")
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.ListModules(ListModulesRequest(), metadata=(USER,))
    assert tally.charged == ["local after 0", "7", "local and 7", "local after 1"]


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"


@pytest.mark.parametrize(
    ("ratio", "trusts", "metadata", "is_followed"),
    [
        (0.0, False, (("traceparent", TRACE + "1"),), False),
        (1.0, False, (("traceparent", TRACE + "0"),), True),
        (0.0, False, (("traceparent", TRACE + "1"), BAD_SERVICE), False),
        (0.0, False, (("traceparent", TRACE + "1"), SERVICE), True),
        (1.0, False, (("traceparent", TRACE + "0"), SERVICE), False),
        (0.0, True, (("traceparent", TRACE + "1"),), True),
        (1.0, True, (("traceparent", TRACE + "0"),), False),
        (1.0, False, (), True),
        (1.0, False, (SERVICE,), False),
    ],
)
async def test_who_decides_that_a_call_is_traced(ratio, trusts, metadata, is_followed):
    """A verified service by its flag, anybody else by the ratio; the trace stays whose it was; a service alone begins none."""
    seen: list[str] = []

    class Last:
        """Notes the call's trace where its handler would be."""

        def bind(self, inner: Any, method: Any, /) -> Any:
            async def behaviour(data: bytes, context: Any) -> bytes:
                seen.append(call().traceparent)
                return await inner(data, context)

            return behaviour

    servicers = Servicers([CallInterceptor(Services(), sample_ratio=ratio, trust_clients=trusts), Last()])
    servicers.register(
        add_ModuleServiceServicer_to_server,
        Probe(),
        dict.fromkeys(("ListModules", "CallHook", "UpgradeStates", "ForgetUser"), OPTIONAL),
    )
    server = LocalServer(servicers)
    await server.start()
    await ModuleServiceStub(LocalChannel(server)).ListModules(ListModulesRequest(), metadata=metadata)
    (traceparent,) = seen
    assert is_sampled(traceparent) is is_followed
    if metadata and metadata[0][0] == "traceparent":
        assert traceparent[:52] == TRACE[:52]
