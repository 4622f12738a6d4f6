"""The customer's journey, step by step, as `stylobate demo` plays it."""

from stylobate.launcher.demo import Journey

STEPS = [
    "register", "login", "place an order", "subscribe to its channel", "pay", "receive the push", "refuse an illegal transition",
    "refuse another user over HTTP", "refuse another user on the channel", "show the history", "limit order 31 within a minute",
    "refresh", "logout", "refuse the old token",
]  # fmt: skip


async def test_every_step_of_the_journey_holds(platform):
    """From registering to the refusal of the old token every step holds, the push and the limit included."""
    journey = Journey(platform.gateway, platform.realtime)
    seen = {title: what async for title, what in journey.play()}
    assert list(seen) == STEPS
    assert "not judged" not in seen["limit order 31 within a minute"]
    assert len(journey.acknowledged.orders) == 30


def test_demo_command_shows_the_steps(platform):
    """`stylobate demo` plays it against the running platform, names each step and exits 0."""
    done = platform.command("demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [step for step in STEPS if step not in done.stdout] == []
