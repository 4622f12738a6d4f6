"""`stylobate keys status|reencrypt`: the keys that accounts and fields of state are encrypted with."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
import typer

from stylobate.api.auth.v1 import account_key_service_pb2 as auth
from stylobate.api.auth.v1.account_key_service_pb2_grpc import AccountKeyServiceStub
from stylobate.api.state.v1 import state_key_service_pb2 as state
from stylobate.api.state.v1.state_key_service_pb2_grpc import StateKeyServiceStub
from stylobate.launcher.operator import RunningService
from stylobate.launcher.output import console
from stylobate.launcher.times import shown

_STEP_S = 30.0
_SAY_EVERY_S = 2.0


def status() -> None:
    """List the keys that data is encrypted with, by what they are for."""
    of_auth, of_state = auth.ListAccountKeysRequest(), state.ListStateKeysRequest()
    there = RunningService("state").ask(lambda channel: StateKeyServiceStub(channel).ListStateKeys(of_state))
    found: list[auth.AccountKeyInfo | state.StateKeyInfo] = [
        *RunningService("auth").ask(lambda channel: AccountKeyServiceStub(channel).ListAccountKeys(of_auth)).keys,
        *there.keys,
    ]
    for key in found:
        typer.echo(_line(key))
    for count in there.owner_keys:
        typer.echo(_owners_line(count))
    if not found:
        console().print("nothing is encrypted")


def reencrypt() -> None:
    """Encrypt everything anew: with another key, and what is stored in the clear. Stopped, it goes on where it is begun again.

    Logins and changes go on meanwhile. Exits non-zero when something could not be opened; that stays as it is.
    """
    amiss = RunningService("auth").ask(_accounts) + RunningService("state").ask(_states)
    if amiss:
        raise typer.Exit(1)


async def _accounts(channel: grpc.aio.Channel) -> int:
    stub: Any = AccountKeyServiceStub(channel)
    begun: auth.BeginAccountReencryptionResponse = await stub.BeginAccountReencryption(
        auth.BeginAccountReencryptionRequest(), timeout=_STEP_S
    )
    if not begun.encrypts:
        console().print(
            "accounts: stored in the clear, as STYLOBATE_AUTH_ENCRYPTION_KEY and …_ENCRYPT_ACCOUNTS say", highlight=False
        )
        return 0
    return await _go_through(
        "accounts", lambda place: stub.ReencryptAccounts(auth.ReencryptAccountsRequest(place=place), timeout=_STEP_S)
    )


async def _states(channel: grpc.aio.Channel) -> int:
    stub: Any = StateKeyServiceStub(channel)
    begun: state.BeginStateReencryptionResponse = await stub.BeginStateReencryption(
        state.BeginStateReencryptionRequest(), timeout=_STEP_S
    )
    amiss = 0
    for name in begun.namespaces:

        def step(place: str, name: str = name) -> Awaitable[Any]:
            return stub.ReencryptStates(state.ReencryptStatesRequest(namespace=name, place=place), timeout=_STEP_S)  # type: ignore[no-any-return]

        amiss += await _go_through(name, step)
    return amiss


async def _go_through(what: str, step: Callable[[str], Awaitable[Any]]) -> int:
    """Take one step after the other; say on standard error how far it is; return how many could not be opened."""
    looked = done = amiss = 0
    place, said_at = "", time.monotonic()
    while True:
        found = await step(place)
        looked, done, amiss = looked + found.looked, done + found.reencrypted, amiss + len(found.unreadable)
        for one in found.unreadable:
            typer.echo(f"{what}: {one}: cannot be opened")
        if not (place := found.next_place):
            break
        if time.monotonic() >= said_at + _SAY_EVERY_S:
            said_at = time.monotonic()
            typer.echo(f"{what}: {looked} looked at, {done} encrypted anew", err=True)
    console().print(f"{what}: {looked} looked at, {done} encrypted anew", highlight=False)
    return amiss


def _owners_line(count: state.OwnerKeyCount) -> str:
    whose = f"{count.owners} owners in {count.tenants} tenants"
    return f"{count.purpose:<28}  keys of owners: {count.keys} of {whose}, {count.destroyed} destroyed"


def _line(key: auth.AccountKeyInfo | state.StateKeyInfo) -> str:
    standing = "seals" if key.current else "replaced" if key.replaced else "opens"
    foreign = "  sealed by another key-encryption key: run `stylobate keys reencrypt`" if key.foreign else ""
    return f"{key.purpose:<28}{key.generation:>4}  {key.id}  {shown(key.created_at)}  {standing}{foreign}"
