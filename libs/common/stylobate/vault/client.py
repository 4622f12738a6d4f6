"""What of Vault's API is needed, on `hvac`, whose calls block: to be made in a thread once a loop runs."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from stylobate.config import ConfigError
from stylobate.telemetry import counter
from stylobate.vault.errors import (
    VaultDeniedError,
    VaultError,
    VaultLoginError,
    VaultRefusedError,
    VaultUnavailableError,
)
from stylobate.vault.options import VaultOptions

R = TypeVar("R")


class Lease(NamedTuple):
    """What an engine gave for a time."""

    id: str
    seconds: float
    values: Mapping[str, str]


_REFUSED_S = 300.0
"""How long a login that was refused is not tried again with the same proof: after five refusals Vault locks out everybody who
logs in with the role, replicas that are well among them."""
_SEVERAL = re.compile(r"^\d+ errors? occurred: \* ")
"""What Vault writes before what is the matter."""
_SPENT = 0.5
"""Of its time, after which a token is renewed."""
_SENT = {"seal", "open", "lease"}
"""What is asked with a value that may be wrong."""
_REDIRECTS = (
    "sends us elsewhere, which is not followed, for the token would go along; STYLOBATE_VAULT_ADDRESS must name the server"
)
_INSTALL = "STYLOBATE_VAULT_ADDRESS: needs `hvac`: pip install 'stylobate[vault]'"


class VaultClient:
    """One login to Vault, renewed before it ends and made anew where it was taken away. Not for several threads at once."""

    def __init__(self, options: VaultOptions, clock: Callable[[], float] = monotonic) -> None:
        """Ask nothing yet. Raises ConfigError where `hvac` is not installed."""
        try:
            import hvac  # noqa: PLC0415  an extra, and slow to import: where there is no Vault it is not
            import requests  # noqa: PLC0415
        except ImportError as error:
            raise ConfigError([_INSTALL]) from error
        self._faults = hvac.exceptions
        self._lost = requests.exceptions.RequestException
        self.options = options
        self._clock = clock
        session = requests.Session()
        session.trust_env = False  # neither another address nor another authority than the settings say
        session.verify = options.authority or True
        self._hvac = hvac.Client(
            url=options.address,
            token="",
            timeout=options.timeout.total_seconds(),
            namespace=options.namespace or None,
            session=session,
            allow_redirects=False,  # the token would go along
        )
        self.logins = 0
        """How often a login was made: what was given for a time to one before ends with that."""
        self._ends = 0.0
        self._due = 0.0
        self._refusal: tuple[str, float, VaultLoginError] | None = None
        self._requests = counter("vault_requests", "Requests to Vault, by what for and how they ended.", ("what", "outcome"))

    # logins

    @property
    def token_left_s(self) -> float:
        """How long the login holds; 0: there is none. ``inf``: without end."""
        return max(0.0, self._ends - self._clock())

    @property
    def renewal_in_s(self) -> float:
        """When it is due to be renewed."""
        return max(0.0, self._due - self._clock())

    def keep_login(self) -> None:
        """Log in where there is no login, renew it where half of its time is over. Raises VaultError."""
        with self._understood():
            if not self._hvac.token or not self.token_left_s:
                self._log_in()
            elif not self.renewal_in_s:
                self._renew()

    def _renew(self) -> None:
        """Renew the login; where that brings too little, or is refused, log in anew."""
        left = self.token_left_s
        try:
            self._holds(self._ask("renew", "auth/token/renew-self", self._hvac.auth.token.renew_self)["auth"])
        except VaultDeniedError:
            self._log_in()
        if self.token_left_s <= left:  # its last hour has come: a token does not live forever
            self._log_in()

    def _log_in(self) -> None:
        """Log in with what the file holds at this moment, unless that was refused a while ago."""
        file = self.options.credentials
        self._hvac.token = ""
        try:
            proof = file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise VaultLoginError(f"STYLOBATE_VAULT_CREDENTIALS_FILE: {file} cannot be read ({_reason(error)})") from None
        if self._refusal is not None and self._refusal[:1] == (proof,) and self._clock() < self._refusal[1]:
            raise self._refusal[2]
        try:
            self._log_in_with(proof)
        except VaultLoginError as error:
            self._refusal = proof, self._clock() + _REFUSED_S, error
            raise
        self._refusal = None

    def _log_in_with(self, proof: str) -> None:
        options = self.options
        where = f"auth/{options.auth_mount}/login"
        match options.auth:
            case "token":
                self._take_token(proof)
                return
            case "approle":
                log_in = partial(
                    self._hvac.auth.approle.login, options.role, proof, use_token=False, mount_point=options.auth_mount
                )
            case "kubernetes":
                log_in = partial(
                    self._hvac.auth.kubernetes.login, options.role, proof, use_token=False, mount_point=options.auth_mount
                )
        auth = self._ask("login", where, log_in)["auth"]
        self._hvac.token = auth["client_token"]
        self.logins += 1
        self._holds(auth)

    def _take_token(self, token: str) -> None:
        self._hvac.token = token
        try:
            found = self._ask("login", "auth/token/lookup-self", self._hvac.auth.token.lookup_self)["data"]
        except VaultDeniedError:
            file = self.options.credentials
            raise VaultLoginError(
                f"{self.options.address}: the token in {file} was revoked or has ended; write another"
            ) from None
        self._holds({"lease_duration": found["ttl"]})

    def _holds(self, auth: Mapping[str, Any]) -> None:
        """Note how long; a token without an end is not renewed, one that cannot be is replaced before its end."""
        now, seconds = self._clock(), float(auth["lease_duration"])
        self._ends = now + (seconds or float("inf"))
        self._due = now + (seconds * _SPENT or float("inf"))

    # reading and writing

    def secret(self, path: str) -> dict[str, Any] | None:
        """Return what stands at a path of ours in the KV engine; None: nothing. Raises VaultError."""
        kv = self._hvac.secrets.kv.v2
        at = f"{self.options.path}/{path}" if self.options.path else path
        read = partial(kv.read_secret_version, at, mount_point=self.options.mount, raise_on_deleted_version=True)
        try:
            with self._understood():
                return dict(self._call("read", self.options.at(path), read)["data"]["data"])
        except self._faults.InvalidPath:
            return None

    def read(self, path: str) -> dict[str, Any] | None:
        """Return what an engine says at a path; None: there is nothing. Raises VaultError."""
        try:
            with self._understood():
                return dict(self._call("read", path, partial(self._hvac.adapter.get, f"/v1/{path}"))["data"])
        except self._faults.InvalidPath:
            return None

    def write(self, what: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Tell an engine something; return what it answers. Raises VaultError; VaultRefusedError for what it does not take."""
        with self._understood():
            return dict(self._call(what, path, partial(self._post, path, body))["data"])

    def lease(self, path: str) -> Lease:
        """Return what an engine gives for a time. Raises VaultError."""
        with self._understood():
            found = self._call("lease", path, partial(self._hvac.adapter.get, f"/v1/{path}"))
            given = Lease(found["lease_id"], float(found["lease_duration"]), dict(found["data"]))
            if not given.seconds > 0:
                raise ValueError("a lease without a time")
            return given

    def renew(self, lease: str) -> float:
        """Prolong a lease; return for how many seconds it holds now. Raises VaultError; VaultRefusedError where it is over."""
        path = "sys/leases/renew"
        with self._understood():
            return float(self._call("lease", path, partial(self._post, path, {"lease_id": lease}))["lease_duration"])

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        try:
            return self._hvac.adapter.post(f"/v1/{path}", json=dict(body))
        except self._faults.InvalidRequest as error:
            if isinstance(error.json, dict) and "batch_results" in (error.json.get("data") or {}):
                return error.json  # of several, or of one: each has its own error there
            raise

    def close(self) -> None:
        """Close the connections."""
        self._hvac.adapter.close()

    def _call(self, what: str, where: str, ask: Callable[[], R]) -> R:
        """Ask as who is logged in, once more where the login was taken away meanwhile."""
        self.keep_login()
        try:
            return self._ask(what, where, ask)
        except VaultDeniedError:
            if self._is_let_in():
                raise
            self._log_in()
            return self._ask(what, where, ask)

    def _is_let_in(self) -> bool:
        try:
            self._ask("lookup", "auth/token/lookup-self", self._hvac.auth.token.lookup_self)
        except VaultDeniedError:
            return False
        return True

    def _ask(self, what: str, where: str, ask: Callable[[], R]) -> R:
        """Ask, and say in our words what is wrong; that there is nothing to read at a path, the driver's own error says."""
        try:
            found = ask()
        except (self._faults.VaultError, self._lost, OSError, ValueError) as error:
            if isinstance(error, self._faults.InvalidPath) and what == "read":
                self._requests.labels(what, "ok").inc()
                raise
            fault = self._fault(what, where, error)
            self._requests.labels(what, "unavailable" if isinstance(fault, VaultUnavailableError) else "denied").inc()
            raise fault from None  # the driver's own holds the answer's text
        if getattr(found, "is_redirect", False):
            self._requests.labels(what, "unavailable").inc()
            raise VaultUnavailableError(f"{self.options.address} {_REDIRECTS}")
        self._requests.labels(what, "ok").inc()
        return found

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Take what no Vault says, as a page of a proxy on the way, for a Vault that is away."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            why = f"{self.options.address} said what is not understood ({type(error).__name__})"
            raise VaultUnavailableError(why) from None  # the error may hold what was said

    def _fault(self, what: str, where: str, error: Exception) -> VaultError:
        address, faults = self.options.address, self._faults
        if not isinstance(error, faults.VaultError):
            return VaultUnavailableError(f"{address} does not answer ({_reason(error)})")
        said = _SEVERAL.sub("", " ".join(" ".join(error.errors or ()).split())) or type(error).__name__
        if isinstance(error, faults.InvalidRequest) and what in _SENT:
            return VaultRefusedError(f"{address}: {where}: {said}")
        refusals = (faults.Forbidden, faults.Unauthorized, faults.InvalidRequest, faults.InvalidPath)
        if isinstance(error, refusals):
            return _refusal(what, f"{address}: {where}", said)
        if isinstance(error, faults.VaultDown) and "sealed" in said.lower():
            return VaultUnavailableError(f"{address} is sealed; unseal it")
        if isinstance(error, faults.VaultNotInitialized):
            return VaultUnavailableError(f"{address} was never initialised; `bao operator init` does it")
        return VaultUnavailableError(f"{address}: {where}: {said}")


def _refusal(what: str, where: str, said: str) -> VaultError:
    if what == "login" and where.endswith("/login"):
        cure = "look at STYLOBATE_VAULT_ROLE and STYLOBATE_VAULT_CREDENTIALS_FILE"
        return VaultLoginError(f"{where}: does not let us in ({said}); {cure}")
    return VaultDeniedError(f"{where}: {said}; the policies of the role must allow it")


def _reason(error: BaseException) -> str:
    """Return the innermost words of a fault: the driver's own wrap each other, and name objects by their addresses."""
    seen = {id(error)}
    while True:
        inner = error.__cause__ or error.__context__ or next((a for a in error.args if isinstance(a, BaseException)), None)
        inner = inner or getattr(error, "reason", None)
        if not isinstance(inner, BaseException) or id(inner) in seen:
            break
        seen.add(id(inner))
        error = inner
    verified = getattr(error, "verify_message", "")
    return str(verified or getattr(error, "strerror", "") or type(error).__name__)
