"""Builds the gateway."""

import asyncio

from stylobate.app.manager import AppManager
from stylobate.clients.edge import Edge
from stylobate.clients.limits import edge_limits
from stylobate.config import ConfigError
from stylobate.identity import ClientAddresses
from stylobate.imports import built_late, on_demand

with (
    built_late(),
    on_demand(  # else with its applications, which nobody here makes
        "fastapi",
        *("params", "routing:APIRouter", "requests:Request", "responses:Response"),
        *(f"param_functions:{kind}" for kind in ("Depends", "Header", "Path", "Query")),
    ),
):
    from stylobate_gateway.api import Api
from stylobate_gateway.admission import Admission
from stylobate_gateway.browser_sessions import BrowserSessions
from stylobate_gateway.catalogue import Catalogue
from stylobate_gateway.charges import Charges
from stylobate_gateway.compression import Compression
from stylobate_gateway.cors import Cors
from stylobate_gateway.dispatch import ActionDispatcher
from stylobate_gateway.door import Door
from stylobate_gateway.express import Express
from stylobate_gateway.granting import GrantingCommands
from stylobate_gateway.session_cookies import SessionCookies
from stylobate_gateway.settings import GatewaySettings
from stylobate_gateway.state_lane import StateLane
from stylobate_gateway.state_reads import StateReads
from stylobate_gateway.watches import StateWatches

_REQUEST_TIMEOUT_S = 30.0
_DEVELOPMENT_S = 0.5
"""Between looks at the catalogue, where nothing else is set: a module that was saved is in the document within a second."""
_LOCALHOST = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"


async def build(app: AppManager, settings: GatewaySettings) -> None:
    """Put what a request passes in front of each other, innermost first."""
    channels = {name: app.channel(name) for name in ("auth", "state", "actions", "ratelimit")}
    seconds = settings.catalogue_seconds
    if settings.is_development and seconds == GatewaySettings.model_fields["catalogue_seconds"].default:
        seconds = _DEVELOPMENT_S
    catalogue = Catalogue(channels["actions"], seconds)
    app.task("catalogue", catalogue.run)
    app.check("catalogue", catalogue.health)
    limits = await app.enter(edge_limits(app.channel("ratelimit"), app.limits_unreachable)) if settings.edge_limits else None
    try:
        addresses = ClientAddresses(settings.trusted_proxies)
    except ValueError as error:
        raise ConfigError([f"STYLOBATE_GATEWAY_TRUSTED_PROXIES: {error}"]) from None
    is_development, is_open = settings.is_development, settings.open_catalogue
    loop = asyncio.get_running_loop()
    charges = Charges(Edge(limits, app.bans, app.limit_rules), catalogue)
    reads = StateReads(channels["state"])
    browsers = None
    if settings.browser_sessions:
        cookies = SessionCookies(is_secure=not is_development)
        browsers = BrowserSessions(channels["auth"], app.verifier, app.identity, cookies)
    watches = StateWatches(channels["state"], app.stopping, settings.watches)
    inner = Api(
        channels,
        catalogue,
        charges,
        reads,
        watches,
        version=app.version,
        public_url=settings.public_url,
        with_home=is_development,
        is_open=is_open,
        namespaces=app.declarations.namespaces.values(),
        browsers=browsers,
    )
    dispatcher = ActionDispatcher(inner, channels["actions"], catalogue, loop)
    admission = Admission(
        dispatcher,
        verifier=app.verifier,
        charges=charges,
        catalogue=catalogue,
        addresses=addresses,
        max_body=settings.max_body_bytes,
        hosts=settings.hosts if is_development else None,
        is_open=is_open,
        browsers=browsers,
    )
    cors = None
    if is_development or settings.cors_origins:
        cors = Cors(
            settings.cors_origins,
            _LOCALHOST if is_development else None,
            admission.charge_address,
            takes_cookies=settings.browser_sessions,
        )
    ratio, trusts = app.trace_ratio, app.trusts_traces
    door = Door(
        admission,
        timeout_s=_REQUEST_TIMEOUT_S,
        trace_ratio=ratio,
        trusts_traces=trusts,
        tells_time=is_development,
        granting=GrantingCommands(app.declarations.roles) if is_development else None,
        loop=loop,
        cors=cors,
        compression=Compression(settings.compress_bytes) if settings.compress_bytes else None,
    )
    express = Express(door, admission, dispatcher, StateLane(inner, reads)) if settings.express else None
    app.http(door, proxies=settings.trusted_proxies, express=express, turned_away=door.turned_away)
