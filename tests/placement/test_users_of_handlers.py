"""`ctx.users` of a handler asks auth in its caller's name, wherever auth runs."""

from .test_channel_rights import admin

__all__ = ["admin"]


def test_a_handler_knows_what_its_caller_may_know(person, admin):
    """Their own account; others' with `users:read`; an unknown one is a typed error of the action."""
    ada, eve = person(), person()
    theirs, eves = [ada.id, True, "", ada.email], [eve.id, False, "", ""]
    assert ada.act("probe.look", [eve.id, ada.id, "x"]).json() == [eves, theirs]
    assert admin.act("probe.look", [ada.id]).json() == [theirs]
    answer = ada.act("probe.look", ["01920c6e-7b1a-7c3e-8f2d-1a2b3c4d5e6f"])
    assert (answer.status_code, answer.json()["code"]) == (404, "USER_NOT_FOUND")
