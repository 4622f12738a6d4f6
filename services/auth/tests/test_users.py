"""People's accounts for administrators: found, disabled, enabled; sessions ended by somebody else."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from stylobate.errors import InvalidInputError, PermissionDeniedError, TokenRevokedError
from stylobate.identity import Principal, PrincipalKind
from stylobate.identity.api_key import ApiKeyNotEnoughError, read_api_key
from stylobate.ids import new_id
from stylobate_auth.api_key import ApiKeyDraft, Standing
from stylobate_auth.errors import (
    AccountDisabledError,
    AccountUnknownError,
    AuthInvalidInputError,
    InvalidCredentialsError,
    LastAdministratorError,
    MailTokenInvalidError,
    RefreshInvalidError,
)
from stylobate_auth.model import Account, AccountDraft, RevocationKind
from stylobate_auth.user import UserPlace, UserQuery

from .conftest import DECLARED, PASSWORD, Auth, build
from .stores import NOW, add_account, new_account
from .test_api_key_store import _key
from .test_service_accounts import _machine

_ALL = UserQuery()


async def _admin(auth: Auth, email: str = "root@example.com", role: str = "admin") -> Principal:
    account = await auth.accounts.create(auth.service, AccountDraft(email, PASSWORD, roles=(role,)), auth.origin)
    return Principal(PrincipalKind.USER, account.id, session="s")


async def test_they_are_found_page_by_page(auth: Auth) -> None:
    """By address, role and time, in the order in which they were made; service accounts are not among them."""
    root = await _admin(auth)
    await auth.machines.create(root, "import", [], auth.origin)
    made = [await auth.accounts._store.account("default", root.id)]
    for number in range(4):
        auth.clock.advance(timedelta(minutes=1))
        made.append(await auth.register(f"p{number}@example.com"))
    pages: list[list[Account]] = []
    token = ""
    while token or not pages:
        page, token = await auth.users.page(root, UserQuery(), 2, token)
        pages.append(page)
    assert pages == [made[:2], made[2:4], made[4:]]
    queries = {
        UserQuery(email="P1@EXAMPLE.com"): made[2:3],
        UserQuery(role="admin"): made[:1],
        UserQuery(role="nobody-has-it"): [],
        UserQuery(created_after=made[1].created_at, created_before=made[3].created_at): made[1:3],
        UserQuery(email="p1@example.com", role="admin"): [],
    }
    for query, fits in queries.items():
        assert await auth.users.page(root, query, 0, "") == (fits, ""), query
    assert await auth.users.get(root, made[1].id) == made[1]


async def test_bad_questions_are_refused(auth: Auth) -> None:
    """A filter that nothing could fit, a token of another question, ids of nobody."""
    root = await _admin(auth)
    await auth.register()
    for query, pointer in ((UserQuery(email="no address"), "/email"), (UserQuery(role="\0"), "/role")):
        with pytest.raises(AuthInvalidInputError) as caught:
            await auth.users.page(root, query, 0, "")
        assert [violation.pointer for violation in caught.value.violations] == [pointer]
    _, token = await auth.users.page(root, UserQuery(), 1, "")
    for query, wrong in ((UserQuery(role="user"), token), (UserQuery(), "x"), (UserQuery(), token[:-4])):
        with pytest.raises(InvalidInputError):
            await auth.users.page(root, query, 1, wrong)
    machine = await auth.machines.create(root, "import", [], auth.origin)
    for nobody in (machine.id, new_id(), "x", ""):
        for ask in _about(auth, root, nobody):
            with pytest.raises(AccountUnknownError):
                await ask


async def test_disabled_ends_all_and_enabled_brings_nothing_back(auth: Auth) -> None:
    """Sessions, refresh tokens, keys and tokens of mails; who knows the password is told why, and nobody else."""
    root, ada = await _admin(auth), await auth.register()
    tokens = await auth.login()
    _, text = await auth.keys.create(auth.principal(tokens), ApiKeyDraft("a"), auth.origin)
    await auth.passwords.forgot("ada@example.com", auth.origin)
    mailed = await auth.post.token()
    for _ in range(2):
        await auth.users.disable(root, ada.id, replace(auth.origin, principal=root))
    since = auth.clock()
    assert (await auth.users.get(root, ada.id)).disabled_at == since
    kinds = {entry.kind for entry in (await auth.store.revocations(None)).entries}
    assert kinds == {RevocationKind.SESSION, RevocationKind.KEY, RevocationKind.SUBJECT}
    with pytest.raises(AccountDisabledError):
        await auth.login()
    auth.clock.advance(timedelta(minutes=2))
    with pytest.raises(InvalidCredentialsError):
        await auth.login(password="not the password")
    with pytest.raises(AccountDisabledError):
        await auth.keys.create(root, ApiKeyDraft("b", owner=ada.id), auth.origin)
    for _ in range(2):
        with pytest.raises(TokenRevokedError):
            await auth.accounts.me(auth.principal(tokens))
        with pytest.raises(RefreshInvalidError):
            await auth.refreshes.refresh("default", tokens.refresh_token, auth.origin)
        with pytest.raises(MailTokenInvalidError):
            await auth.passwords.reset(mailed, "another long password", auth.origin)
        assert (await auth.keys.verify([read_api_key(text)]))[0].standing is Standing.REVOKED
        await auth.users.enable(root, ada.id, auth.origin)
    auth.clock.advance(timedelta(minutes=2))
    await auth.login()
    told = [event.type for event in auth.store.events if event.actor == root.id][1:]
    assert told == ["auth.session.ended", "auth.user.disabled", "auth.user.enabled"]
    done = [record for record in auth.store.records if record.action in {"auth.user.disable", "auth.user.enable"}]
    assert [(record.actor, record.target) for record in done] == [(root.id, f"user:{ada.id}")] * 2


async def test_a_login_under_way_does_not_slip_through(auth: Auth) -> None:
    """Disabled between the check of the password and the session: the session is not opened."""
    root, ada = await _admin(auth), await auth.register()
    hold = auth.store.transaction

    def disable_first() -> Any:
        auth.store.transaction = hold  # type: ignore[method-assign]

        class _Late:
            async def __aenter__(self) -> Any:
                await auth.users.disable(root, ada.id, auth.origin)
                self.inner = hold()
                return await self.inner.__aenter__()

            async def __aexit__(self, *error: object) -> Any:
                return await self.inner.__aexit__(*error)

        return _Late()

    auth.store.transaction = disable_first  # type: ignore[method-assign]
    with pytest.raises(AccountDisabledError):
        await auth.login()
    assert (await auth.users.sessions(root, ada.id, 0, ""))[0] == []


async def test_sessions_are_ended_by_an_administrator(auth: Auth) -> None:
    """Listed and ended; a login right afterwards holds."""
    root, ada = await _admin(auth), await auth.register()
    tokens = []
    for _ in range(2):
        tokens.append(await auth.login())
        auth.clock.advance(timedelta(minutes=1))
    found, _ = await auth.users.sessions(root, ada.id, 0, "")
    assert {session.id for session in found} == {auth.principal(token).session for token in tokens}
    await auth.users.end_sessions(root, ada.id, auth.origin)
    assert (await auth.users.sessions(root, ada.id, 0, ""))[0] == []
    for token in tokens:
        with pytest.raises(RefreshInvalidError):
            await auth.refreshes.refresh("default", token.refresh_token, auth.origin)
    assert (await auth.accounts.me(auth.principal(await auth.login()))).id == ada.id


async def test_the_last_administrator_stays(auth: Auth) -> None:
    """Nobody disables the only one, not even it itself; one of two goes, and a disabled one does not count."""
    root = await _admin(auth)
    with pytest.raises(LastAdministratorError):
        await auth.users.disable(root, root.id, auth.origin)
    other = await _admin(auth, "other@example.com")
    await auth.users.disable(other, root.id, auth.origin)
    for who in (other, auth.service):
        with pytest.raises(LastAdministratorError):
            await auth.users.disable(who, other.id, auth.origin)
    await auth.users.enable(other, root.id, auth.origin)
    await auth.users.disable(root, other.id, auth.origin)


async def test_they_take_permissions(clock: Any, hasher: Any) -> None:
    """Reading and changing one each, and all that the account's roles permit; a key does neither."""
    DECLARED.update({"reader": {"users:read"}, "helper": {"users:read", "users:write"}})
    try:
        auth = build(clock, hasher)
    finally:
        del DECLARED["reader"], DECLARED["helper"]
    root, reader, helper = [await _admin(auth, f"{role}@example.com", role) for role in ("admin", "reader", "helper")]
    await _admin(auth, "admin2@example.com")
    ada = (await auth.register()).id
    reading = {"get", "page", "sessions"}
    for who, may in ((reader, reading), (Principal(PrincipalKind.USER, ada, session="s"), set())):
        for ask in _about(auth, who, ada):
            if ask.__name__ in may:
                await ask
            else:
                with pytest.raises(PermissionDeniedError):
                    await ask
    for ask in _about(auth, helper, ada):
        await ask
    for ask in _about(auth, helper, root.id):
        if ask.__name__ in reading:
            await ask
        else:
            with pytest.raises(PermissionDeniedError):
                await ask
    for ask in _about(auth, replace(root, session="", is_key=True, scopes=frozenset({"*"})), ada):
        with pytest.raises(ApiKeyNotEnoughError):
            await ask


def _about(auth: Auth, who: Principal, account_id: str) -> list[Any]:
    """Return everything that can be asked about an account."""
    changes = [auth.users.disable, auth.users.enable, auth.users.end_sessions]
    return [
        auth.users.get(who, account_id),
        auth.users.sessions(who, account_id, 0, ""),
        *(change(who, account_id, auth.origin) for change in changes),
    ]


async def test_every_store_finds_people(bench: Any) -> None:
    """By everything that can be asked, behind a place in order; not of another tenant, and no machines."""
    people = []
    for number in range(3):
        new = new_account(f"p{number}@example.com")
        roles = ("clerk", "user") if number == 1 else ("user",)
        account = replace(new.account, roles=roles, created_at=NOW + timedelta(minutes=number // 2))
        people.append(await add_account(bench.store, replace(new, account=account)))
    async with bench.store.transaction() as transaction:
        await transaction.add_service_account(_machine())
    people.sort(key=lambda account: (account.created_at, account.id))
    first, clerk = people[0], next(account for account in people if "clerk" in account.roles)

    async def found(query: UserQuery = _ALL, after: Account | None = None, limit: int = 9) -> list[Account]:
        place = None if after is None else UserPlace(after.created_at, after.id)
        return list(await bench.other.users("default", query, place, limit))

    assert await found(limit=2) == people[:2]
    assert await found(after=first) == people[1:]
    assert await found(UserQuery(role="clerk")) == [clerk]
    assert await found(UserQuery(email="p1@example.com")) == [clerk]
    assert await found(UserQuery(created_after=NOW + timedelta(minutes=1))) == people[2:]
    assert await found(UserQuery(created_before=NOW + timedelta(minutes=1))) == people[:2]
    assert await bench.other.users("another", UserQuery(), None, 9) == []
    assert await bench.other.user("default", first.id) == first
    assert [await bench.other.user("default", nobody) for nobody in ("x", new_id())] == [None, None]


async def test_every_store_disables(bench: Any) -> None:
    """The time is kept, no password holds meanwhile, and keys are revoked once."""
    new = new_account()
    person = await add_account(bench.store, replace(new, account=replace(new.account, roles=("admin", "user"))))
    keys = sorted([(await _key(bench.store, person.id)).id for _ in range(2)])
    async with bench.store.transaction() as transaction:
        assert await transaction.hold_administrators("default") == {person.id}
        assert await transaction.hold_user("default", person.id) == person
        assert [await transaction.hold_user("default", nobody) for nobody in ("x", new_id())] == [None, None]
        await transaction.set_disabled("default", person.id, NOW)
        assert await transaction.end_api_keys("default", person.id, NOW) == keys
        assert await transaction.end_api_keys("default", person.id, NOW) == []
        assert await transaction.hold_administrators("default") == set()
    assert (await bench.other.user("default", person.id)).disabled_at == NOW
    assert (await bench.other.credentials_of("default", person.id)).account.disabled_at == NOW
    async with bench.store.transaction() as transaction:
        for another in (new.password_hash, "another"):
            assert not await transaction.hold_password_hash("default", person.id, new.password_hash, another)
        await transaction.set_disabled("default", person.id, None)
        assert await transaction.hold_password_hash("default", person.id, new.password_hash, new.password_hash)


async def test_two_that_disable_each_other_wait(bench: Any) -> None:
    """The second one finds that it is the last."""
    pair = []
    for number in range(2):
        new = new_account(f"a{number}@example.com")
        pair.append(await add_account(bench.store, replace(new, account=replace(new.account, roles=("admin",)))))

    async def disable(store: Any, account: Account) -> int:
        async with store.transaction() as transaction:
            left = await transaction.hold_administrators("default")
            if len(left) > 1:
                await transaction.hold_user("default", account.id)
                await transaction.set_disabled("default", account.id, NOW)
            return len(left)

    assert sorted(await asyncio.gather(disable(bench.store, pair[0]), disable(bench.other, pair[1]))) == [1, 2]
