"""`stylobate limits`."""

import os
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from math import ceil
from pathlib import Path
from typing import Annotated

import grpc.aio
import typer

from stylobate.api.ratelimit.v1 import ratelimit_service_pb2 as pb
from stylobate.api.ratelimit.v1.ratelimit_service_pb2_grpc import RateLimitServiceStub
from stylobate.clients.action_limits import counted
from stylobate.clients.limit_facts import SEPARATOR, Facts
from stylobate.clients.limit_rules import LimitRules, errors_of
from stylobate.declarations import Declarations, load_declarations
from stylobate.declarations.model import ActionDeclaration
from stylobate.identity.networks import Networks, network_key
from stylobate.identity.principal import ANONYMOUS, Principal, PrincipalKind
from stylobate.launcher.operator import RunningService
from stylobate.launcher.output import CommandError, console, print_line
from stylobate.launcher.times import lasting, shown

limits = typer.Typer()

_FILE = typer.Argument(help="A rules file; without it the modules' and that of STYLOBATE_LIMITS_FILE.")
_RULE = typer.Argument(help="The rule's name, as `limits rules` lists it.")
_COUNTED = typer.Argument(help="Whom it counts; of a rule that counts by several parts each of them, in order.")
_LEVEL = typer.Argument(help="ip, user, api_key, session or tenant.")
_PERIODS = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}
_SUBJECT = typer.Argument(help="Who: an address, a network such as 192.0.2.0/24, or an id.")


@limits.command()
def check(file: Annotated[Path | None, _FILE] = None) -> None:
    """Print every finding about rules with file and line; exit non-zero when there is an error."""
    declarations, platform = _declared() if file is None else (Declarations(), file)
    found = LimitRules(declarations, platform)
    findings = list(dict.fromkeys((*found.findings, *declarations.findings)))
    for finding in findings:
        typer.echo(f"{finding.severity}: {finding}")
    if errors_of(findings):
        raise typer.Exit(1)
    console().print(f"{len(found.plan.rules)} rules are fine" if not findings else "no errors")


@limits.command()
def explain(  # noqa: PLR0917  each an option of the command
    request: Annotated[str, typer.Argument(help='What is asked for: "POST /orders", or the name of an action.')] = "",
    user: Annotated[str, typer.Option(help="The id of who asks; without it nobody is known by name.")] = "",
    session: Annotated[str, typer.Option(help="The session's id.")] = "",
    api_key: Annotated[str, typer.Option(help="The id of the API key that it is asked with.")] = "",
    ip: Annotated[str, typer.Option(help="Where from.")] = "192.0.2.1",
    channel: Annotated[str, typer.Option(help="In place of a request: the realtime channel that a command is about.")] = "",
    header: Annotated[list[str] | None, typer.Option(help="A header field, `name: value`; may be repeated.")] = None,
) -> None:
    """Say which rules of the files count a request, whom each counts, and why the others do not."""
    if bool(request) == bool(channel):
        raise CommandError("name what is asked for, or with --channel what a command over the realtime socket is about")
    headers = _headers(header or ())
    if not _is_address(ip):
        raise CommandError(f"--ip: {ip!r} is not an address")
    declarations, platform = _declared()
    rules = LimitRules(declarations, platform)
    if wrong := errors_of(rules.findings):
        raise CommandError("\n".join(map(str, wrong)))
    method, _, path = request.partition(" ")
    actions = declarations.actions
    action = actions.get(request) or next((found for found in actions.values() if _is_route(found, method, path)), None)
    if not path and action is None and not channel:
        raise CommandError(f"{request!r} is neither a method and a path nor an action that a file declares")
    if not path and action is not None:
        method, path = "POST", f"/v1/actions/{action.name}"
    place = (
        (action.route or f"POST /v1/actions/{action.name}") if action else f"{method} {'/'.join(path.split('/', 4)[:4])}".strip()
    )
    who = Principal(PrincipalKind.USER, user, session=session, token_id=api_key, is_key=bool(api_key)) if user else ANONYMOUS
    facts = Facts(ip, who, f"{method} {path}".strip(), place, action.name if action else "", channel, headers)
    known = {rule.name: rule for rule in rules.plan.rules}
    for name, subject, why in rules.plan.explain(facts):
        rule = known.get(name)
        text = f"{rule.limit.text}{' shadow' if rule.is_shadow else ''}" if rule else "as the service's settings say"
        where = f"  ({rule.file}:{rule.line})" if rule and rule.file else ""
        held = f"{text}  counts {subject.replace(SEPARATOR, ' | ')}" if subject else f"no: {why}"
        print_line(f"{name}  {held}{where}")
    if action is not None and action.rate_limit is not None:
        subject = counted(who, ip)
        print_line(f"{action.name}  {action.rate_limit.text}  counts {subject}  ({action.file}:{action.line})")


@limits.command()
def rules() -> None:
    """List the rules of the running platform."""
    stub = RunningService("ratelimit")
    found = stub.ask(lambda channel: RateLimitServiceStub(channel).ListRules(pb.ListRulesRequest())).rules
    for rule in found:
        extra = "".join(
            f"  {word}" for word, is_so in (("shadow", rule.policy.shadow), ("bans", rule.policy.HasField("ban"))) if is_so
        )
        where = f"  ({rule.place})" if rule.place else ""
        print_line(f"{rule.policy.name}  {rule.text}  per {', '.join(rule.per)}{extra}{where}")


@limits.command()
def usage(rule: Annotated[str, _RULE], subject: Annotated[list[str], _COUNTED]) -> None:
    """Say how somebody stands at a rule."""
    request = pb.GetUsageRequest(rule=rule, subject=subject)
    found = RunningService("ratelimit").ask(lambda channel: RateLimitServiceStub(channel).GetUsage(request))
    period, reset = found.policy.period.seconds, ceil(found.reset.ToTimedelta().total_seconds())
    when = f"full again in {reset} s" if reset else "full"
    print_line(f"{found.remaining} left of {found.policy.limit} per {_PERIODS.get(period, f'{period} s')}; {when}")


@limits.command()
def reset(rule: Annotated[str, _RULE], subject: Annotated[list[str], _COUNTED]) -> None:
    """Give somebody their whole limit back."""
    request = pb.ResetUsageRequest(rule=rule, subject=subject)
    RunningService("ratelimit").ask(lambda channel: RateLimitServiceStub(channel).ResetUsage(request))
    console().print("full again")


@limits.command()
def ban(
    level: Annotated[str, _LEVEL],
    subject: Annotated[str, _SUBJECT],
    lasts: Annotated[str, typer.Option("--for", help="How long: `30m`, `12h`. Without it until it is lifted.")] = "",
    reason: Annotated[str, typer.Option(help="For operators; who is banned is not told.")] = "",
) -> None:
    """Keep somebody out, at once and everywhere."""
    request = pb.PutBanRequest(subject=pb.BanSubject(level=level, subject=subject), reason=reason)
    if lasts:
        request.duration.FromTimedelta(lasting("--for", lasts))
    found = RunningService("ratelimit").ask(lambda channel: RateLimitServiceStub(channel).PutBan(request)).ban
    print_line(f"banned {_line(found)}")


@limits.command()
def unban(level: Annotated[str, _LEVEL], subject: Annotated[str, _SUBJECT]) -> None:
    """Lift a ban, and forget what led to it."""
    request = pb.DeleteBanRequest(subject=pb.BanSubject(level=level, subject=subject))
    RunningService("ratelimit").ask(lambda channel: RateLimitServiceStub(channel).DeleteBan(request))
    console().print("lifted")


@limits.command()
def bans(
    level: Annotated[str, typer.Option(help="Only those of this level.")] = "",
    address: Annotated[str, typer.Option(help="Only those that keep this address out: its own, and those of networks.")] = "",
) -> None:
    """List the bans in force."""
    try:
        key = network_key(address) if address else ""
    except ValueError as error:
        raise CommandError(f"--address: {error}") from None

    async def ask(channel: grpc.aio.Channel) -> list[pb.Ban]:
        stub, found, token = RateLimitServiceStub(channel), list[pb.Ban](), ""
        while True:
            page = await stub.ListBans(pb.ListBansRequest(level=level, page_size=500, page_token=token))
            found += page.bans
            token = page.next_page_token
            if not token:
                return found

    found = RunningService("ratelimit").ask(ask)
    if key:
        around = Networks(ban.subject for ban in found if ban.level == "ip").around(key)
        found = [ban for ban in found if ban.level == "ip" and ban.subject in {key, *around}]
    for line in map(_line, found):
        print_line(line)
    if not found:
        console().print("nobody is banned")


def _declared() -> tuple[Declarations, Path | None]:
    """Return what the modules declare, and the platform's own file."""
    file = os.environ.get("STYLOBATE_LIMITS_FILE", "")
    return load_declarations(os.environ.get("STYLOBATE_MODULES", "modules")), Path(file) if file else None


def _headers(texts: Iterable[str]) -> dict[bytes, bytes]:
    """Return header fields as requests have them. Raises CommandError."""
    found: dict[bytes, bytes] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise CommandError(f"--header: {text!r} is not a header field; write `name: value`")
        found[name.strip().lower().encode()] = value.strip().encode()
    return found


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_route(action: ActionDeclaration, method: str, path: str) -> bool:
    """Return whether a request is for the route of an action."""
    if not action.route or path == "":
        return False
    declared, _, template = action.route.partition(" ")
    pieces, given = template.split("/"), path.split("/")
    fits = (piece == there or (piece.startswith("{") and there != "") for piece, there in zip(pieces, given, strict=False))
    return declared == method and len(pieces) == len(given) and all(fits)


def _line(ban: pb.Ban) -> str:
    return "  ".join(_parts(ban))


def _parts(ban: pb.Ban) -> Iterator[str]:
    yield f"{ban.level} {ban.subject}"
    yield f"until {shown(ban.until)}" if ban.HasField("until") else "until it is lifted"
    yield f"by the rule {ban.rule}, {ban.strikes} in a row" if ban.rule else f"by {ban.actor}"
    if ban.reason:
        yield ban.reason
