"""The settings."""

from datetime import timedelta

import pytest
from stylobate.config import ConfigError, Sources
from stylobate.value_kinds import OnUnreachable
from stylobate_ratelimit.model import Algorithm, Limit
from stylobate_ratelimit.settings import RateLimitSettings


def load(**environ: str) -> RateLimitSettings:
    """Resolve from these variables alone."""
    return RateLimitSettings.load(
        Sources(environ={f"STYLOBATE_RATELIMIT_{name}": value for name, value in environ.items()}, folders=())
    )


def test_the_edge_rules_have_defaults():
    """300 a second for an address, 100 for a user, as much at once."""
    second = timedelta(seconds=1)
    assert load().rules == {
        "edge.ip": Limit("edge.ip", Algorithm.GCRA, 300, second),
        "edge.user": Limit("edge.user", Algorithm.GCRA, 100, second),
    }
    assert load().rules["edge.ip"].capacity == 300
    assert load().on_redis_down is OnUnreachable.LOCAL


def test_rules_and_policy_can_be_set():
    """A burst of its own, a limit beyond a window's, another policy."""
    settings = load(EDGE_IP="5000/second", EDGE_USER="10/minute burst 40", ON_REDIS_DOWN="closed")
    assert settings.rules["edge.ip"].limit == 5000
    assert settings.rules["edge.user"].capacity == 40
    assert settings.on_redis_down is OnUnreachable.CLOSED


@pytest.mark.parametrize(
    ("name", "value"), [("EDGE_IP", "many"), ("EDGE_USER", "0/second"), ("EDGE_IP", "2000000/second"), ("ON_REDIS_DOWN", "maybe")]
)
def test_a_bad_setting_is_named(name, value):
    """A rule that cannot be read stops the start, naming the variable."""
    with pytest.raises(ConfigError, match=f"STYLOBATE_RATELIMIT_{name}"):
        load(**{name: value})
