"""The registry of reasons: one class of the platform each."""

import pytest
from stylobate.errors import NotFoundError, StylobateError, title_of


def define(module, name, reason="THING_LOST", base=StylobateError):
    """Define an error class as if it stood in a module of that name."""
    return type(name, (base,), {"__module__": module, "__qualname__": name, "reason": reason})


@pytest.fixture(autouse=True)
def registry():
    """Give the registry; what the test enters is forgotten with it."""
    before = dict(StylobateError.registry)
    yield StylobateError.registry
    StylobateError.registry.clear()
    StylobateError.registry.update(before)


def test_the_platform_has_one_class_for_a_reason():
    """A second one is refused where it is defined, and the first one is named."""
    define("stylobate_state.errors", "ThingLostError")
    with pytest.raises(TypeError, match=r"THING_LOST is that of stylobate_state\.errors\.ThingLostError"):
        define("stylobate.modules.errors", "ThingLostError")
    with pytest.raises(TypeError):
        define("stylobate_state.errors", "OtherError", base=NotFoundError)


def test_a_class_that_is_defined_again_takes_its_place(registry):
    """A reloaded module is not two."""
    define("stylobate_state.errors", "ThingLostError")
    again = define("stylobate_state.errors", "ThingLostError")
    assert registry["THING_LOST"] is again


def test_a_subclass_without_a_reason_of_its_own_is_no_second_one(registry):
    """It refuses with its parent's."""
    parent = define("stylobate_state.errors", "ThingLostError")
    type("ThingFarAwayError", (parent,), {"__module__": "stylobate_state.errors"})
    assert registry["THING_LOST"] is parent


def test_modules_have_reasons_of_their_own(registry):
    """Two modules may refuse alike; a module that refuses like the platform does not take its place."""
    define("stylobate_module_shop_1234abcd.errors", "ThingLostError")
    last = define("stylobate_module_desk_1234abcd.errors", "ThingLostError")
    assert registry["THING_LOST"] is last
    define("desk.errors", "NotHereError", reason="NOT_FOUND")
    assert registry["NOT_FOUND"] is NotFoundError


@pytest.mark.parametrize(
    ("reason", "title"),
    [
        ("CORS_REFUSED", "CORS refused"),
        ("STATE_VERSION_CONFLICT", "Version conflict"),
        ("MALFORMED_JSON", "Malformed JSON"),
        ("API_KEY_INVALID", "API key invalid"),
        ("BANNED", "Banned"),
    ],
)
def test_a_reason_reads_as_a_title(reason, title):
    """A problem's title is its reason in words, and what is written in capitals is."""
    assert title_of(reason) == title
