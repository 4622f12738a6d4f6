"""Settings that cannot work are refused at start, with their names."""

import pytest
from stylobate.config import ConfigError, Sources
from stylobate_realtime.settings import RealtimeSettings


def _load(**values: str) -> RealtimeSettings:
    environ = {f"STYLOBATE_REALTIME_{name.upper()}": value for name, value in values.items()}
    return RealtimeSettings.load(Sources(environ=environ, folders=()))


def test_settings_come_from_the_environment():
    """Durations, lists and numbers are read as they are written for every service."""
    settings = _load(ping_interval="10s", pong_timeout="500ms", allowed_origins="https://a.example,https://b.example")
    assert (settings.ping_interval.total_seconds(), settings.pong_timeout.total_seconds()) == (10, 0.5)
    assert settings.allowed_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    "values",
    [
        {"ping_interval": "8s", "pong_timeout": "8s"},
        {"ping_interval": "1500ms", "pong_timeout": "1s"},
        {"presence_refresh": "60s", "presence_ttl": "60s"},
        {"trusted_proxies": "10.0.0.1/8"},
        {"trusted_proxies": "the-proxy"},
        {"frame_bytes": "10"},
        {"drain": "-1s"},
    ],
)
def test_settings_that_cannot_work(values):
    """Timers that contradict each other, proxies that are not networks and limits that are too small stop the start."""
    with pytest.raises(ConfigError):
        _load(**values)
