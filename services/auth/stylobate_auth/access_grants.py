"""What grants add to decisions: asked for only where the roles of a subject do not permit something everywhere."""

from collections.abc import Callable, Sequence
from datetime import datetime

from stylobate.errors import InvalidInputError, Violation
from stylobate.identity.resources import MOST_LISTED, covering, resource_fault
from stylobate.paging import no_token, page_position, page_token

from stylobate_auth.grant import ROLE, Grant, GrantPlace, GrantQuery, GrantQuestion, permissions_covering
from stylobate_auth.model import Decision, Question
from stylobate_auth.store.port import AuthStore

_LONGEST = 256
"""Characters of a permission that can be granted."""


class AccessGrants:
    """Looks grants up.

    :param clock: the time in UTC, for grants that end.
    """

    def __init__(self, store: AuthStore, *, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    async def decide(self, asked: Sequence[tuple[Question, Sequence[str]]]) -> list[Decision]:
        """Answer questions, each with the roles of its subject, those that they inherit from included."""
        decisions = [Decision()] * len(asked)
        named = [number for number, (question, _) in enumerate(asked) if question.resource]
        other = [number for number, (question, _) in enumerate(asked) if not question.resource]
        if named:
            for number, found in zip(named, await self._covering([asked[number] for number in named]), strict=True):
                decisions[number] = Decision(is_allowed=bool(found))
        if other:
            questions = [_question(*asked[number]) for number in other]
            granted = await self._store.granted(questions, self._clock(), MOST_LISTED + 1)
            for number, names in zip(other, granted, strict=True):
                decisions[number] = Decision(granted=tuple(names[:MOST_LISTED]), has_more=len(names) > MOST_LISTED)
        return decisions

    async def reasons(self, question: Question, roles: Sequence[str]) -> Sequence[Grant]:
        """Return the grants that permit what is asked for."""
        return (await self._covering([(question, roles)]))[0] if question.resource else ()

    async def of_subject(self, tenant: str, subject: str) -> list[tuple[str, str]]:
        """Return each permission that is granted to a subject, and on what."""
        query, found = GrantQuery(subject), list[tuple[str, str]]()
        place: GrantPlace | None = None
        while True:
            part = await self._store.grants(tenant, query, place, self._clock(), MOST_LISTED)
            found += [(grant.permission, grant.resource) for grant in part]
            if len(part) < MOST_LISTED:
                return found
            place = part[-1].subject, part[-1].permission, part[-1].resource

    async def page(self, question: Question, roles: Sequence[str], under: str, size: int, token: str) -> tuple[list[str], str]:
        """Return a page of the resources in a prefix (empty: all) that are granted, and the token of the next.

        :raises InvalidInputError: no size or token of this list.
        """
        if not 0 <= size <= MOST_LISTED:
            raise InvalidInputError(violations=[Violation("/page_size", f"must be 0 to {MOST_LISTED}")])
        about = ("granted", question.tenant, question.subject, question.permission, under)
        after, limit = page_position(about, token), size or MOST_LISTED
        if "\0" in after:
            raise no_token()
        found = await self._store.granted_under(_question(question, roles), under, after, self._clock(), limit + 1)
        return found[:limit], page_token(about, found[limit - 1]) if len(found) > limit else ""

    async def _covering(self, asked: Sequence[tuple[Question, Sequence[str]]]) -> list[list[Grant]]:
        return await self._store.covering_grants([_question(*one) for one in asked], self._clock())


def _question(question: Question, roles: Sequence[str]) -> GrantQuestion:
    """Return what to look for: nothing for a name that no grant has. It could have any number of parts, each to be looked for."""
    is_sound = len(question.permission) <= _LONGEST and not (question.resource and resource_fault(question.resource))
    return GrantQuestion(
        question.tenant,
        (question.subject, *(f"{ROLE}{role}" for role in roles)),
        tuple(permissions_covering(question.permission)) if is_sound else (),
        tuple(covering(question.resource)) if is_sound and question.resource else (),
    )
