"""Builds the gateway."""

import asyncio

from stylobate.app.manager import AppManager
from stylobate.clients.limits import edge_limits
from stylobate.config import ConfigError
from stylobate.http.asgi import Application
from stylobate.identity import ClientAddresses

from stylobate_gateway.app import build_application
from stylobate_gateway.catalogue import Catalogue
from stylobate_gateway.dispatch import ActionDispatcher
from stylobate_gateway.middleware.body_limit import BodyLimit, WholeBody
from stylobate_gateway.middleware.context import RequestContext
from stylobate_gateway.middleware.cors import Cors
from stylobate_gateway.middleware.edge import Edge, public_paths
from stylobate_gateway.middleware.own_host import OwnHost
from stylobate_gateway.middleware.preflights import ChargedPreflights
from stylobate_gateway.middleware.refusals import Refusals
from stylobate_gateway.settings import GatewaySettings

_REQUEST_TIMEOUT_S = 30.0
_LOCALHOST = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"


async def build(app: AppManager, settings: GatewaySettings) -> None:
    """Put the layers in front of each other, outermost last."""
    channels = {name: app.channel(name) for name in ("auth", "state", "actions")}
    catalogue = Catalogue(channels["actions"], settings.catalogue_seconds)
    app.task("catalogue", catalogue.run)
    app.check("catalogue", catalogue.health)
    limits = await app.enter(edge_limits(app.channel("ratelimit"))) if settings.edge_limits else None
    try:
        addresses = ClientAddresses(settings.trusted_proxies)
    except ValueError as error:
        raise ConfigError([f"STYLOBATE_GATEWAY_TRUSTED_PROXIES: {error}"]) from None

    loop = asyncio.get_running_loop()
    inner: Application = build_application(
        channels, catalogue, version=app.version, with_home=settings.is_development, is_open=settings.open_catalogue
    )
    inner = ActionDispatcher(inner, channels["actions"], catalogue, loop)
    inner = WholeBody(inner, settings.max_body_bytes)
    public = public_paths(is_open=settings.open_catalogue)
    inner = edge = Edge(inner, app.verifier, limits, addresses, public=public)
    inner = BodyLimit(inner, settings.max_body_bytes)
    if settings.is_development:
        inner = OwnHost(inner, settings.hosts)
    inner = Refusals(inner)
    if settings.is_development or settings.cors_origins:
        inner = Cors(inner, settings.cors_origins, _LOCALHOST if settings.is_development else None)
        inner = ChargedPreflights(inner, edge)
    ratio, trusts = app.trace_ratio, app.trusts_traces
    app.http(RequestContext(inner, timeout_s=_REQUEST_TIMEOUT_S, trace_ratio=ratio, trusts_traces=trusts, loop=loop))
