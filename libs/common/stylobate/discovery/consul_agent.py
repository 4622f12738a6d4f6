"""Addresses that Consul tells, and this process made known to it.

Written to the HTTP API of Consul's agent as `py-consul` speaks it; it has met a contract server of our own, and no real agent.
"""

import asyncio
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import consul.aio
from consul.exceptions import ACLDisabled, ACLPermissionDenied, ConsulException

from stylobate.discovery import Hint, Places
from stylobate.discovery.target import address_of
from stylobate.logs import get_logger
from stylobate.resilience import Interruption

_WAIT_S = 20
"""How long the agent may keep a question, until something has changed."""
_ANSWER_S = 30.0
_SOONEST_S = 0.2
"""Between two questions: an agent that answers at once, again and again, is not asked as often as it can."""
_LEAVE_S = 1.0
_CRITICAL_FOR = "1m"
"""After which Consul forgets a process that ended without a word; less it does not take."""
_MOST_SAID = 200
_MOST = 65_535
"""Of ports, and of weights."""
_log = get_logger("app")


@dataclass(frozen=True, slots=True)
class Entry:
    """One service of this process, as it is registered."""

    service: str
    """``stylobate-state``."""
    id: str
    """Unique at the agent."""
    host: str
    port: int
    weight: int


class ConsulAgent:
    """A Consul agent. Needs a running loop.

    :param url: ``http://127.0.0.1:8500``. :param token: of its ACL; empty: none.
    :param authority: PEM file that the agent's certificate is checked against; empty: the system's authorities.
    """

    def __init__(self, url: str, token: str = "", authority: str = "") -> None:
        parts = urlsplit(url)
        is_secure = parts.scheme == "https"
        with warnings.catch_warnings():  # it names TLS to aiohttp in words of earlier releases
            warnings.simplefilter("ignore", DeprecationWarning)
            self._client = consul.aio.Consul(
                host=parts.hostname,
                port=parts.port or (443 if is_secure else 8500),
                token=token or None,
                scheme=parts.scheme,
                verify=(authority or True) if is_secure else False,
                connections_timeout=_ANSWER_S,
            )
        self._client.http._session.trace_configs.append(_following_nobody(url))  # noqa: SLF001  it takes none from outside
        self._client.token = token or None  # whatever the environment says to other programs
        self.url = url

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    async def passing(self, service: str, index: str) -> tuple[str, Places]:
        """Return the addresses of the instances whose checks pass, and the index that stands for this answer.

        :param index: of the answer before, which is waited on until it is another; empty: answer at once.
        :raises OSError: the agent does not answer or refuses.
        """
        with _told(self.url):
            found, nodes = await self._client.health.service(service, index=index or None, wait=f"{_WAIT_S}s", passing=True)
            return str(found), dict(_place(node) for node in nodes or ())

    async def register(self, entry: Entry, ttl: timedelta) -> None:
        """Make a service of this process known; it counts as critical until :meth:`is_passing`. Raises OSError."""
        check = {"CheckID": _check_of(entry), "TTL": f"{ttl.total_seconds():g}s", "DeregisterCriticalServiceAfter": _CRITICAL_FOR}
        with _told(self.url):
            await self._client.agent.service.register(
                entry.service,
                service_id=entry.id,
                address=entry.host,
                port=entry.port,
                check=check,
                weights={"Passing": entry.weight, "Warning": 1},
            )

    async def is_passing(self, entry: Entry) -> bool:
        """Tell the agent that it is well; return False where the agent does not know it (any more). Raises OSError."""
        with _told(self.url):
            try:
                return bool(await self._client.agent.check.ttl_pass(_check_of(entry)))
            except ConsulException as error:
                if "nknown check" in str(error):  # earlier releases say it with 500
                    return False
                raise

    async def deregister(self, entry: Entry) -> None:
        """Take it back. Raises OSError."""
        with _told(self.url):
            await self._client.agent.service.deregister(entry.id)


class ConsulService:
    """The instances of one service whose checks pass, by blocking queries."""

    is_told = False

    def __init__(self, agent: ConsulAgent, service: str) -> None:
        self._agent, self._service = agent, service
        self.how = f"consul {service} at {agent.url}"

    async def watch(self, lost: Hint) -> AsyncIterator[Places]:  # noqa: ARG002  Consul tells when somebody is gone
        """Yield them whenever they are others."""
        index = ""
        while True:
            found, places = await self._agent.passing(self._service, index)
            yield places
            index = next_index(index, found)
            await asyncio.sleep(_SOONEST_S)


def next_index(before: str, found: str) -> str:
    """Return what to wait on: nothing where the index went back, as Consul asks of its clients, or is none."""
    if not found.isdecimal() or int(found) < 1:
        return ""
    return "" if before and int(found) < int(before) else found


class ConsulRegistration:
    """Keeps this process's services known to Consul while it takes requests."""

    def __init__(self, agent: ConsulAgent, entries: tuple[Entry, ...], ttl: timedelta, is_ready: Callable[[], bool]) -> None:
        self._agent, self._entries, self._ttl, self._is_ready = agent, entries, ttl, is_ready
        self._interruption = Interruption("consul_registration_interrupted")
        self.trouble = ""
        """Why others may not find this process; empty while they can."""

    async def keep(self) -> None:
        """Register, and pass the checks, again and again, without end. What the agent has forgotten is registered anew."""
        while True:
            if self._is_ready():
                try:
                    await asyncio.gather(*(self._keep(entry) for entry in self._entries))
                except OSError as error:
                    self.trouble = str(error)
                    self._interruption.note(cause=self.trouble)
                else:
                    self.trouble = ""
                    if self._interruption.over():
                        _log.info("consul_registration_resumed")
            await asyncio.sleep(min(1.0, self._ttl.total_seconds() / 3) if self.trouble else self._ttl.total_seconds() / 3)

    async def _keep(self, entry: Entry) -> None:
        if not await self._agent.is_passing(entry):
            await self._agent.register(entry, self._ttl)
            await self._agent.is_passing(entry)

    async def leave(self) -> None:
        """Take the services back, within a second; who cannot be told finds out by the check."""
        for outcome in await asyncio.gather(*(self._leave(entry) for entry in self._entries), return_exceptions=True):
            if isinstance(outcome, OSError):
                _log.warning("consul_not_deregistered", cause=str(outcome) or "no answer", cure="its check ends by itself")

    def _leave(self, entry: Entry) -> Awaitable[None]:
        return asyncio.wait_for(self._agent.deregister(entry), _LEAVE_S)


def _check_of(entry: Entry) -> str:
    return f"service:{entry.id}"


def _place(node: Any) -> tuple[str, int]:
    """Return address and weight of an instance, at the address of its node where it has none of its own."""
    service = node["Service"]
    host = service.get("Address") or node["Node"]["Address"]
    if not 0 < (port := int(service["Port"])) <= _MOST:
        raise ValueError(f"{service.get('ID')} has the port {port}")
    return address_of(host, port), min(max(int((service.get("Weights") or {}).get("Passing", 1)), 1), _MOST)


def _following_nobody(url: str) -> aiohttp.TraceConfig:
    """Return what ends a request that is sent elsewhere: the token would go along."""

    async def refuse(*_: object) -> None:
        raise OSError(
            f"Consul at {url} sends us elsewhere, where the token would go along: STYLOBATE_CONSUL_URL must name the agent"
        )

    traced = aiohttp.TraceConfig()
    traced.on_request_redirect.append(refuse)
    traced.freeze()
    return traced


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Raise OSError for whatever the agent's client raises, with its address, and what would mend it."""
    try:
        yield
    except (ACLPermissionDenied, ACLDisabled) as error:
        raise OSError(f"Consul at {url} refuses STYLOBATE_CONSUL_TOKEN: {str(error)[:_MOST_SAID]}") from error
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError) as error:
        said = str(error)[:_MOST_SAID]
        raise OSError(f"Consul at {url}: no TLS, STYLOBATE_CONSUL_AUTHORITY says whom to trust: {said}") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        said = str(getattr(error, "os_error", error))[:_MOST_SAID] or "in time"
        raise OSError(f"Consul at {url} does not answer: {said}") from error
    except (ConsulException, KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise OSError(f"Consul at {url} said what is not understood: {str(error)[:_MOST_SAID]}") from error
