"""What clients are called for people."""

import pytest
from stylobate_auth.devices import device_of, devices_of

_KIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0", "Firefox on Linux"),
        (f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_KIT} Version/17.4 Safari/605.1.15", "Safari on macOS"),
        (
            f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) {_KIT} Version/17.4 Mobile/15E148 Safari/604.1",
            "Mobile Safari on iOS",
        ),
        ("curl/8.5.0", "curl"),
        ("grpc-python/1.60 grpc-c/37 (linux; chttp2)", "grpc-python on Linux"),
        ("MyApp/1.2", "MyApp"),
        ("x" * 256, "x" * 64),
        ("", ""),
        ("/ /", ""),
    ],
)
def test_a_client_is_called(agent: str, device: str) -> None:
    """By program and system, as far as its user agent tells them."""
    assert device_of(agent) == device


async def test_many_are_called() -> None:
    """Each by its user agent."""
    assert await devices_of(["curl/8.5.0", "", "curl/8.5.0"]) == {"curl/8.5.0": "curl", "": ""}
    assert await devices_of([]) == {}
