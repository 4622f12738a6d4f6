"""Builds the gateway."""

import asyncio

from stylobate.app.manager import AppManager
from stylobate.clients.limits import edge_limits
from stylobate.config import ConfigError
from stylobate.http.asgi import Application
from stylobate.identity import ClientAddresses

from stylobate_gateway.admission import Admission
from stylobate_gateway.api import Api
from stylobate_gateway.catalogue import Catalogue
from stylobate_gateway.cors import Cors
from stylobate_gateway.dispatch import ActionDispatcher
from stylobate_gateway.door import Door
from stylobate_gateway.settings import GatewaySettings

_REQUEST_TIMEOUT_S = 30.0
_LOCALHOST = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"


async def build(app: AppManager, settings: GatewaySettings) -> None:
    """Put what a request passes in front of each other, innermost first."""
    channels = {name: app.channel(name) for name in ("auth", "state", "actions")}
    catalogue = Catalogue(channels["actions"], settings.catalogue_seconds)
    app.task("catalogue", catalogue.run)
    app.check("catalogue", catalogue.health)
    limits = await app.enter(edge_limits(app.channel("ratelimit"))) if settings.edge_limits else None
    try:
        addresses = ClientAddresses(settings.trusted_proxies)
    except ValueError as error:
        raise ConfigError([f"STYLOBATE_GATEWAY_TRUSTED_PROXIES: {error}"]) from None
    is_development, is_open = settings.is_development, settings.open_catalogue
    loop = asyncio.get_running_loop()
    inner: Application = Api(channels, catalogue, version=app.version, with_home=is_development, is_open=is_open)
    inner = ActionDispatcher(inner, channels["actions"], catalogue, loop)
    admission = Admission(
        inner,
        verifier=app.verifier,
        limits=limits,
        addresses=addresses,
        max_body=settings.max_body_bytes,
        hosts=settings.hosts if is_development else None,
        is_open=is_open,
    )
    cors = None
    if is_development or settings.cors_origins:
        cors = Cors(settings.cors_origins, _LOCALHOST if is_development else None, admission.charge_address)
    ratio, trusts = app.trace_ratio, app.trusts_traces
    door = Door(admission, timeout_s=_REQUEST_TIMEOUT_S, trace_ratio=ratio, trusts_traces=trusts, loop=loop, cors=cors)
    app.http(door, proxies=settings.trusted_proxies)
