"""`stylobate keys`: API keys, and the accounts of machines that own some. Of a new one nothing else goes to standard output."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import grpc.aio
import orjson
import typer
from google.protobuf.duration_pb2 import Duration

from stylobate.api.auth.v1 import api_key_service_pb2 as pb
from stylobate.api.auth.v1 import service_account_service_pb2 as machine
from stylobate.api.auth.v1 import signing_key_service_pb2 as signing
from stylobate.api.auth.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from stylobate.api.auth.v1.service_account_service_pb2_grpc import ServiceAccountServiceStub
from stylobate.api.auth.v1.signing_key_service_pb2_grpc import SigningKeyServiceStub
from stylobate.identity.public_key import jwk_of_pem
from stylobate.launcher.commands import data_keys
from stylobate.launcher.operator import RunningService
from stylobate.launcher.output import CommandError, console, print_line
from stylobate.launcher.times import lasting, shown

keys = typer.Typer()
keys.command()(data_keys.status)
keys.command()(data_keys.reencrypt)

_ID = typer.Argument(help="The key's id, as `keys list` tells it.")
_PUBLIC_KEY = typer.Option("--public-key", help="A file with a public key, JWK or PEM, in place of a secret: `private_key_jwt`.")
_OWNER = typer.Argument(help="The id of the account.")


@keys.command()
def create(  # noqa: PLR0917
    owner: Annotated[str, _OWNER],
    name: Annotated[str, typer.Argument(help="What people call the key.")],
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="A permission, `authenticated` or `owner`; may be repeated.")
    ] = None,
    cidr: Annotated[list[str] | None, typer.Option("--cidr", help="A network that it is taken from; may be repeated.")] = None,
    limit: Annotated[str, typer.Option(help="A limit of its own: `100/minute`, `10/second burst 50`.")] = "",
    lasts: Annotated[str, typer.Option("--for", help="How long it holds: `90d`. Without it until it is revoked.")] = "",
    public_key: Annotated[Path | None, _PUBLIC_KEY] = None,
) -> None:
    """Make an API key and print it, this once; with a public key, which has no secret, its id."""
    request = pb.CreateApiKeyRequest(owner=owner, name=name, scopes=scope or (), allowed_cidrs=cidr or (), rate_limit=limit)
    request.public_key = _jwk(public_key)
    if lasts:
        request.expires_at.FromDatetime(datetime.now(UTC) + lasting("--for", lasts))
    _show(RunningService("auth").ask(lambda channel: ApiKeyServiceStub(channel).CreateApiKey(request)))


@keys.command("list")
def list_keys(owner: Annotated[str, _OWNER]) -> None:
    """List the API keys of an account that are not revoked."""

    async def ask(channel: grpc.aio.Channel) -> list[pb.ApiKey]:
        stub, found, token = ApiKeyServiceStub(channel), list[pb.ApiKey](), ""
        while True:
            page = await stub.ListApiKeys(pb.ListApiKeysRequest(owner=owner, page_size=500, page_token=token))
            found += page.api_keys
            token = page.next_page_token
            if not token:
                return found

    found = RunningService("auth").ask(ask)
    for key in found:
        print_line(_line(key))
    if not found:
        console().print("no keys")


@keys.command()
def rotate(
    id: Annotated[str, typer.Argument(help="The key's id, as `keys list` tells it.")] = "",  # noqa: A002  as it is called everywhere
    overlap: Annotated[str, typer.Option(help="How long the old one still holds: `0`, or 10m to 30d.")] = "1d",
    public_key: Annotated[Path | None, _PUBLIC_KEY] = None,
) -> None:
    """Make the successor of an API key and print it, this once; without an id that of the key that signs access tokens."""
    if not id:
        made = RunningService("auth").ask(
            lambda channel: SigningKeyServiceStub(channel).RotateSigningKey(signing.RotateSigningKeyRequest())
        )
        print_line(_signing_line(made.key))
        return
    length = timedelta(0) if overlap == "0" else lasting("--overlap", overlap)
    request = pb.RotateApiKeyRequest(id=id, overlap=Duration(seconds=int(length.total_seconds())))
    request.public_key = _jwk(public_key)
    _show(RunningService("auth").ask(lambda channel: ApiKeyServiceStub(channel).RotateApiKey(request)))


@keys.command()
def limit(
    id: Annotated[str, _ID],  # noqa: A002
    rate: Annotated[str, typer.Argument(help="A limit of its own: `100/minute`, `10/second burst 50`; or `none`.")],
) -> None:
    """Give an API key another limit of its own: it holds everywhere within a second."""
    request = pb.ChangeApiKeyLimitRequest(id=id, rate_limit="" if rate == "none" else rate)
    print_line(_line(RunningService("auth").ask(lambda channel: ApiKeyServiceStub(channel).ChangeApiKeyLimit(request)).api_key))


@keys.command("signing")
def list_signing_keys() -> None:
    """List the keys that access tokens are signed with, the newest first."""
    request = signing.ListSigningKeysRequest()
    for key in RunningService("auth").ask(lambda channel: SigningKeyServiceStub(channel).ListSigningKeys(request)).keys:
        print_line(_signing_line(key))


@keys.command()
def revoke(id: Annotated[str, _ID]) -> None:  # noqa: A002
    """End an API key: it is refused everywhere within a second."""
    request = pb.RevokeApiKeyRequest(id=id)
    RunningService("auth").ask(lambda channel: ApiKeyServiceStub(channel).RevokeApiKey(request))
    console().print("revoked")


@keys.command("add-account")
def add_account(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    role: Annotated[list[str] | None, typer.Option("--role", help="What it may do; may be repeated.")] = None,
) -> None:
    """Make a service account, which owns keys for a program; print its id."""
    request = machine.CreateServiceAccountRequest(name=name, roles=role or ())
    made = RunningService("auth").ask(lambda channel: ServiceAccountServiceStub(channel).CreateServiceAccount(request))
    typer.echo(made.service_account.id)


@keys.command("accounts")
def accounts() -> None:
    """List the service accounts."""

    async def ask(channel: grpc.aio.Channel) -> list[machine.ServiceAccount]:
        stub, found, token = ServiceAccountServiceStub(channel), list[machine.ServiceAccount](), ""
        while True:
            page = await stub.ListServiceAccounts(machine.ListServiceAccountsRequest(page_size=500, page_token=token))
            found += page.service_accounts
            token = page.next_page_token
            if not token:
                return found

    found = RunningService("auth").ask(ask)
    for account in found:
        print_line(f"{account.id}  {account.name}  {', '.join(account.roles) or 'no roles'}")
    if not found:
        console().print("no service accounts")


@keys.command("delete-account")
def delete_account(id: Annotated[str, _OWNER]) -> None:  # noqa: A002
    """Delete a service account with its keys."""
    request = machine.DeleteServiceAccountRequest(id=id)
    RunningService("auth").ask(lambda channel: ServiceAccountServiceStub(channel).DeleteServiceAccount(request))
    console().print("deleted")


def _jwk(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        data = path.read_bytes()
        return jwk_of_pem(data) if data.lstrip().startswith(b"-----BEGIN") else data.decode()
    except (OSError, ValueError) as error:
        raise CommandError(f"--public-key: {error}") from None


def _show(made: pb.CreateApiKeyResponse | pb.RotateApiKeyResponse) -> None:
    if made.api_key.public_key:
        typer.echo(made.api_key.id)
        return
    typer.echo(made.key)
    typer.echo("It is not shown again.", err=True)


def _line(key: pb.ApiKey) -> str:
    more = [f"scopes {', '.join(key.scopes)}" if key.scopes else "no scopes"]
    if key.allowed_cidrs:
        more.append(f"from {', '.join(key.allowed_cidrs)}")
    more.append(f"until {shown(key.expires_at)}" if key.HasField("expires_at") else "without end")
    more.append(f"used {shown(key.last_used_at)}" if key.HasField("last_used_at") else "never used")
    if key.public_key:
        more.append(f"public key {orjson.loads(key.public_key)['kid']}")
    if key.rate_limit:
        more.append(f"limit {key.rate_limit}")
    if key.replaced_by:
        more.append(f"rotated to {key.replaced_by}")
    return "  ".join((key.id, key.name, *more))


def _signing_line(key: signing.SigningKey) -> str:
    place = signing.SigningKeyPlace.Name(key.place).removeprefix("SIGNING_KEY_PLACE_").lower()
    return f"{key.id}  {key.algorithm}  {place}  from {shown(key.signs_from)}"
