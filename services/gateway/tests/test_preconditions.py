"""If-Match and If-None-Match on every method of a state object (RFC 9110 §13)."""

import asyncio

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")
ADA = {"authorization": "Bearer ada", "content-type": "application/json"}
WRITES = {
    "PUT": ("", b'{"data": {"a": 1}}'),
    "PATCH": ("", b'{"a": 1}'),
    "DELETE": ("", b""),
    "POST": ("/transitions/publish", b""),
}


@pytest.fixture
async def write(gateway, request):
    """Give a function that makes an object at version 2, or none, and sends it a request under conditions."""
    number = 0

    async def send(method: str, version: int, *conditions: tuple[str, str]):
        nonlocal number
        number += 1
        path = f"/v1/state/notes/{abs(hash(request.node.name))}-{number}"
        for _ in range(version):
            await gateway.http.put(path, content=b'{"data": {}}', headers=ADA)
        tail, body = WRITES.get(method, ("", b""))
        headers = [*ADA.items(), *conditions]
        return await gateway.http.request(method, path + tail, content=body, headers=headers)

    return send


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize(
    ("name", "value", "holds"),
    [
        ("if-match", "*", True),
        ("if-match", '"2"', True),
        ("if-match", 'W/"2"', False),
        ("if-match", 'W/"2", "2"', True),
        ("if-match", '"1", W/"2"', False),
        ("if-match", '"1"', False),
        ("if-match", '"1", "2", "3"', True),
        ("if-match", ', "2" ,', True),
        ("if-none-match", "*", False),
        ("if-none-match", '"1"', True),
        ("if-none-match", '"2"', False),
        ("if-none-match", 'W/"2"', False),
        ("if-none-match", '"1", W/"2"', False),
        ("if-none-match", '"1", "3"', True),
    ],
)
async def test_a_write_happens_when_its_condition_holds(write, is_problem, method, name, value, holds) -> None:
    """Each form on each method: done, or 412 and nothing is changed."""
    answer = await write(method, 2, (name, value))
    if holds:
        assert answer.status_code in (200, 204), answer.text
        if method != "DELETE":
            assert answer.headers["etag"] == '"3"'
    else:
        is_problem(answer, 412, "STATE_VERSION_CONFLICT")


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize(
    "condition",
    [("if-match", "*"), ("if-match", '"1", "2"'), ("if-match", '"1"'), ("if-none-match", "*"), ("if-none-match", '"1"')],
)
async def test_conditions_on_what_is_not_there(write, is_problem, method, condition) -> None:
    """PUT creates where nothing rules it out; any other method finds nothing to change."""
    answer = await write(method, 0, condition)
    if method == "PUT" and condition[0] == "if-none-match":
        assert (answer.status_code, answer.headers["etag"]) == (200, '"1"')
    elif method == "PUT":
        is_problem(answer, 412, "STATE_VERSION_CONFLICT")
    else:
        assert answer.status_code in (404, 412), answer.text


async def test_lines_of_one_header_are_one_list(write, is_problem) -> None:
    """The second line is not read over (RFC 9110 §5.3), and both headers hold together."""
    assert (await write("PATCH", 2, ("if-match", '"1"'), ("if-match", '"2"'))).status_code == 200
    is_problem(await write("PATCH", 2, ("if-match", '"1"'), ("if-match", '"3"')), 412, "STATE_VERSION_CONFLICT")
    is_problem(await write("PATCH", 2, ("if-match", "*"), ("if-none-match", '"2"')), 412, "STATE_VERSION_CONFLICT")
    assert (await write("PATCH", 2, ("if-match", "*"), ("if-none-match", '"1"'))).status_code == 200


async def test_a_read_may_insist_on_a_version(write, is_problem) -> None:
    """If-Match with GET: the object at that version, or 412."""
    assert (await write("GET", 2, ("if-match", '"2"'))).status_code == 200
    is_problem(await write("GET", 2, ("if-match", '"1"')), 412, "STATE_VERSION_CONFLICT")
    is_problem(await write("GET", 2, ("if-match", 'W/"2"')), 412, "STATE_VERSION_CONFLICT")


async def test_of_two_that_saw_the_same_one_wins(gateway) -> None:
    """A condition that names several versions is as exact as one that names one."""
    path = "/v1/state/notes/raced"
    await gateway.http.put(path, content=b'{"data": {}}', headers=ADA)
    seen = ADA | {"if-match": '"1", "7"'}
    answers = await asyncio.gather(
        *(gateway.http.patch(path, content=b'{"by": %d}' % number, headers=seen) for number in range(8))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
