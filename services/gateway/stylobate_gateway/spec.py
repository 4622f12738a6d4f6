"""What the gateway service is, for whoever starts or manages it."""

from stylobate.app import Imported, ServiceSpec

from stylobate_gateway.settings import GatewaySettings

SPEC = ServiceSpec(name="gateway", settings=GatewaySettings, build=Imported("stylobate_gateway.main:build"))
