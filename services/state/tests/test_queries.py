"""Encodings compare as values do; queries find what a filter in Python finds, on every store."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from operator import ge, gt, le, lt

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from stylobate.date_time import time_of
from stylobate.declarations.indexes import OWN_FIELDS
from stylobate.declarations.model import AccessRule, IndexDeclaration, IndexField, NamespaceAccess, NamespaceDeclaration
from stylobate.errors import PermissionDeniedError, StylobateError
from stylobate.identity.resources import NOTHING, Granted
from stylobate_state.errors import StateQueryNotIndexedError, StateSortTooBroadError
from stylobate_state.filters import Filter
from stylobate_state.index import MOST_BYTES, Index, indexes_of
from stylobate_state.index_encoding import encode, successor, value_of
from stylobate_state.model import MOST_SORTED
from stylobate_state.namespace import Namespace
from stylobate_state.state_lister import ListRequest, StateLister
from stylobate_state.store.memory import MemoryStateStore

from .samples import ADA, BOB, write
from .test_index_contract import StateKey

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
_WHOLE = st.integers(-(10**30), 10**30).map(Decimal)
NUMBERS = _WHOLE | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9)
TIMES = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
VALUES = {"text": TEXTS, "number": NUMBERS | st.decimals("-1e-300", "1e-300"), "time": TIMES, "boolean": st.booleans()}
THINGS = NamespaceDeclaration(
    name="things",
    module="things",
    initial="new",
    statuses=("new", "old"),
    access=NamespaceAccess(list=AccessRule(("things:list", "owner"))),
    indexes=(
        IndexDeclaration((IndexField("n", "number"),)),
        IndexDeclaration((IndexField("s", "text"), IndexField("n", "number"))),
        IndexDeclaration((IndexField("status", "text"), IndexField("b", "boolean"), IndexField("s", "text"))),
        IndexDeclaration((IndexField("t", "time"),), statuses=("new",)),
        IndexDeclaration((IndexField("owner", "text"), IndexField("s", "text"))),
    ),
)


@pytest.mark.parametrize("kind", VALUES)
@given(data=st.data())
def test_bytes_are_in_the_order_of_values(kind, data):
    """Values and their bytes compare alike; a value is above what is missing; none begins another."""
    one, two = data.draw(VALUES[kind]), data.draw(VALUES[kind])
    left, right = encode(one), encode(two)
    assert (left < right, left == right) == (one < two, one == two)
    assert encode(None) < left
    assert left == right or not right.startswith(left)
    assert left < successor(left)
    assert left >= right or successor(left) <= right


@given(pairs=st.lists(st.tuples(TEXTS, NUMBERS), min_size=2, max_size=2))
def test_fields_after_one_another_are_in_the_order_of_tuples(pairs):
    """A second field never changes the order of the first."""
    (a, b), (c, d) = pairs
    assert (encode(a) + encode(b) < encode(c) + encode(d)) == ((a, b) < (c, d))


@given(text=TEXTS, beginning=TEXTS)
def test_a_prefix_is_a_range(text, beginning):
    """What begins with a text lies between it and what comes after everything that begins so."""
    low = encode(beginning)[:-1]
    assert (low <= encode(text) < successor(low)) == text.startswith(beginning)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2030-01-01T10:00:00Z", "2030-01-01T10:00:00+00:00"),
        ("2030-01-01t12:00:00.5+02:00", "2030-01-01T10:00:00.500000+00:00"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00+00:00"),
        ("2030-01-01T10:00:00.1234567Z", "2030-01-01T10:00:00.123456+00:00"),
    ],
)
def test_times_are_moments(text, moment):
    """Offsets, fractions and leap seconds are read; two texts of one moment are equal."""
    assert time_of(text) == datetime.fromisoformat(moment)


@pytest.mark.parametrize("text", ["", "2030-01-01", "2030-02-30T10:00:00Z", "2030-01-01T10:00:00", "0000-01-01T00:00:00Z", "x"])
def test_other_texts_are_no_times(text):
    """What names no moment counts as missing, like a value of another kind."""
    assert time_of(text) is None
    assert value_of("time", json.dumps(text).encode()) is None
    assert value_of("number", b'"1"') is value_of("text", b"1") is value_of("boolean", b"0") is value_of("number", b"") is None


def test_a_member_that_the_data_lacks_is_missing():
    """Paths lead through objects only; null is missing; numbers keep their digits."""
    index = Index("things", (IndexField("a.b", "number"), IndexField("data.status", "text")))
    assert index.paths == (("a", "b"), ("status",))
    for data in (b"3", b"[]", b'{"a": 1}', b'{"a": {"b": null}}', b'{"a": {"c": 1}, "status": 5}'):
        assert index.parts(data, "ada").parts == (encode(None), encode(None))
    exact = index.parts(b' {"a": {"b": 0.1000000000000000000001}, "status": "x"}', "").parts
    assert exact == (encode(Decimal("0.1000000000000000000001")), encode("x"))


class Everything:
    """Grants what is given; and ``ada`` may list."""

    def __init__(self, granted: Granted = NOTHING) -> None:
        self._granted = granted

    async def allows(self, rule, principal, owner=None, resource="") -> bool:
        """Say so."""
        return principal.id == "ada"

    async def granted(self, rule, principal, under) -> Granted:
        """Say so."""
        return self._granted


OBJECTS = st.lists(
    st.fixed_dictionaries(
        {"status": st.sampled_from(["new", "old"]), "owner": st.sampled_from(["ada", "bob"])},
        optional={
            "n": st.integers(-3, 3),
            "s": st.sampled_from(["", "a", "ab", "b", "ä"]),
            "b": st.booleans(),
            "t": st.sampled_from(["2030-01-01T10:00:00Z", "2030-01-01T09:30:00-01:00", "2031-01-01T00:00:00Z"]),
        },
    ),
    max_size=12,
)
_VALUES = {
    "n": st.integers(-3, 3).map(str),
    "s": st.sampled_from(["", "a", "ab", "b", "ä"]),
    "b": st.sampled_from(["true", "false"]),
    "t": st.sampled_from(["2030-01-01T10:00:00Z", "2030-06-01T00:00:00Z"]),
    "status": st.sampled_from(["new", "old"]),
    "owner": st.sampled_from(["ada", "bob"]),
}


@st.composite
def queries(draw):
    """Draw a query that an index answers: its first fields fixed, perhaps a range on the next one; a sort by anything."""
    index = draw(st.sampled_from(THINGS.indexes))
    names = [field.name for field in index.fields]
    fixed = draw(st.integers(0, len(names)))
    filters = [draw(conditions(name, ["eq", "in"])) for name in names[:fixed]]
    if fixed < len(names) and draw(st.booleans()):
        ranges = ["gte", "lt", "lte", "gt", "exists"] + ["prefix"] * (names[fixed] in {"s", "status", "owner"})
        filters.append(draw(conditions(names[fixed], ranges)))
    if index.statuses:
        filters.append(Filter("status", "eq", index.statuses))
    sort = draw(st.sampled_from(["", *names[: fixed + 1]]) | st.sampled_from(["n", "s", "b", "t", *OWN_FIELDS]))
    return filters, sort and draw(st.sampled_from(["", "-"])) + sort


@st.composite
def conditions(draw, field, operators):
    """Draw a filter on a field."""
    operator = draw(st.sampled_from(operators))
    if operator == "exists":
        return Filter(field, operator, (draw(st.sampled_from(["true", "false"])),))
    values = draw(st.lists(_VALUES[field], min_size=1, max_size=3 if operator == "in" else 1))
    return Filter(field, operator, tuple(values))


def meant(item: Filter, found) -> bool:
    """Return whether the filter lets the value through: what the documentation says, in Python."""
    kinds = {"n": Decimal, "b": lambda text: text == "true", "t": time_of}
    values = [kinds.get(item.field, str)(text) for text in item.values]
    if item.operator == "exists":
        return (found is not None) == (item.values[0] == "true")
    if found is None:
        return False
    compare = {"lt": lt, "lte": le, "gt": gt, "gte": ge, "prefix": lambda found, text: found.startswith(text)}
    return found in values if item.operator in {"eq", "in"} else compare[item.operator](found, values[0])


def fields_of(item) -> dict:
    """Return the values of an object's fields."""
    number = Decimal(item["n"]) if "n" in item else None
    times = dict.fromkeys(("created_at", "updated_at"), datetime(2000, 1, 1, tzinfo=UTC))  # all are written at once
    return {"s": None, "b": None} | item | times | {"n": number, "t": time_of(item["t"]) if "t" in item else None}


_TENANTS = count()


@example(objects=[], asked=([], "owner"), who=BOB, granted=True, size=1)
@given(objects=OBJECTS, asked=queries(), who=st.sampled_from([ADA, BOB]), granted=st.booleans(), size=st.integers(1, 4))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_queries_find_what_a_filter_finds(store, objects, asked, who, granted, size):
    """On each store, page by page: every object that the filters mean and the caller may list, once, in order; and counted."""
    filters, sort = asked
    tenant = f"t{next(_TENANTS)}"
    await store.declare(indexes_of(THINGS))
    writes = [
        write(StateKey(tenant, "things", f"{n:02d}"), 0, json.dumps(item).encode(), status=item["status"], owner=item["owner"])
        for n, item in enumerate(objects)
    ]
    if writes:
        await store.write(writes)
    on = frozenset(f"state/things/{n:02d}" for n in (1, 2, 99)) if granted else frozenset()
    lister, namespace = StateLister(store, Everything(Granted(on))), Namespace.of(THINGS, [], max_data_bytes=10_000)
    principal, found, token = replace(who, tenant=tenant), [], ""
    while True:
        request = ListRequest(filters=filters, sort=sort, size=size, token=token, count_up_to=100)
        try:
            page = await lister.list_states(principal, namespace, request)
        except StateQueryNotIndexedError:
            assert not filters
            assert sort.lstrip("-") not in {index.fields[0].name for index in THINGS.indexes if not index.statuses}
            return
        except PermissionDeniedError:  # in an order of owners who sees a few objects could look for ids
            assert (who, granted) == (BOB, True)
            assert "owner" in {sort.lstrip("-"), *(item.field for item in filters)}
            return
        found += [int(state.key.key) for state in page.items]
        token = page.next_token
        if not token:
            break
    seen = {n for n, item in enumerate(objects) if who is ADA or item["owner"] == "bob" or (granted and n in {1, 2})}
    rows = [(n, fields_of(item)) for n, item in enumerate(objects) if n in seen]
    rows = [(n, row) for n, row in rows if all(meant(item, row[item.field]) for item in filters)]
    assert sorted(found) == [n for n, _ in rows]
    assert page.count == len(rows)
    if sort:
        by = {n: encode(row[sort.lstrip("-")]) for n, row in rows}
        keys = [by[n] for n in found]
        assert keys == sorted(keys, reverse=sort.startswith("-"))


@pytest.mark.parametrize(
    ("filters", "place"),
    [
        ([Filter("n", "eq", ("1", "2"))], "/filter/n/eq"),
        ([Filter("n", "in", ())], "/filter/n/in"),
        ([Filter("n", "in", tuple(map(str, range(51))))], "/filter/n/in"),
        ([Filter("n", "eq", ("1_0",))], "/filter/n/eq"),
        ([Filter("n", "eq", ("NaN",))], "/filter/n/eq"),
        ([Filter("n", "eq", ("1e999",))], "/filter/n/eq"),
        ([Filter("n", "prefix", ("1",))], "/filter/n/prefix"),
        ([Filter("n", "exists", ("yes",))], "/filter/n/exists"),
        ([Filter("n", "eq", ("1",)), Filter("n", "gt", ("0",))], "/filter/n/eq"),
        ([Filter("n", "gte", ("1",)), Filter("n", "gt", ("0",))], "/filter/n/gte"),
        ([Filter("n", "gt", ("1",)), Filter("n", "lt", ("1",))], "/filter/n"),
        ([Filter("s", "eq", ("a\0",))], "/filter/s/eq"),
        ([Filter("s", "eq", ("a" * MOST_BYTES,))], "/filter/s/eq"),
        ([Filter("b", "eq", ("1",))], "/filter/b/eq"),
        ([Filter("t", "gt", ("yesterday",))], "/filter/t/gt"),
        ([Filter("z", "eq", ("1",))], "/filter/z"),
        ([Filter("data.status", "eq", ("1",))], "/filter/data.status"),
        ([Filter("n", "like", ("1",))], "/filter/n/like"),
        ([Filter("status", "in", ("new", "lost"))], "/filter/status/in"),
        ([Filter("n", "lt", ("1",))] * 2, "/filter/n/lt"),
        ([Filter("n", "lt", ("1",))] * 21, "/filter"),
        (
            [Filter("s", "in", tuple("abcdefgh")), Filter("status", "in", ("new", "old")), Filter("b", "in", ("true", "false"))],
            "",
        ),
        ([Filter("s", "in", tuple("abcdefghijklmnopqrstuvwxyz")), Filter("n", "in", ("1", "2"))], "/filter"),
    ],
)
async def test_what_says_nothing_is_refused_at_its_place(filters, place):
    """Every wrong form is a typed error that names its place."""
    store = MemoryStateStore(lambda: datetime.now(UTC))
    await store.declare(indexes_of(THINGS))
    lister, namespace = StateLister(store, Everything()), Namespace.of(THINGS, [], max_data_bytes=10_000)
    if not place:
        assert (await lister.list_states(ADA, namespace, ListRequest(filters=filters))).items == []
        return
    with pytest.raises(StylobateError) as refused:
        await lister.list_states(ADA, namespace, ListRequest(filters=filters))
    assert [violation.pointer for violation in refused.value.violations] == [place]


@pytest.mark.parametrize(("who", "told"), [(ADA, {"entered": "2"}), (BOB, {})])
async def test_an_index_that_is_not_ready_tells_nothing_of_objects(who, told):
    """The refusal names the index; of objects that stand in its way, and how many there are, it says what the caller may list."""
    store = MemoryStateStore(lambda: datetime.now(UTC))
    await store.write([write(StateKey("default", "things", key), 0, b'{"s": "x"}') for key in ("secret-1", "secret-2")])
    unique = replace(THINGS, indexes=(IndexDeclaration((IndexField("s", "text"),), is_unique=True),))
    await store.declare(indexes_of(unique))
    lister, namespace = StateLister(store, Everything()), Namespace.of(unique, [], max_data_bytes=10_000)
    for problem in ("is being built", "cannot be made ready: objects stand in its way"):
        with pytest.raises(StylobateError) as refused:
            await lister.list_states(who, namespace, ListRequest(filters=[Filter("s", "eq", ("x",))]))
        assert refused.value.reason == "STATE_INDEX_NOT_READY"
        assert problem in refused.value.detail
        assert "secret" not in f"{refused.value.detail}{refused.value.metadata}"
        assert await store.build(10) is False
    assert refused.value.metadata == {"namespace": "things", "index": "s"} | told


async def test_what_is_sorted_is_bounded_and_read_once(store):
    """Up to the bound everything comes, in order, over all pages; beyond it a refusal says how to narrow, or what to declare.

    What is written between two pages stands where its values put it, and moves nothing else.
    """
    await store.declare(indexes_of(THINGS))
    tenant, size = f"t{next(_TENANTS)}", 250
    lister, namespace = StateLister(store, Everything()), Namespace.of(THINGS, [], max_data_bytes=10_000)
    ada = replace(ADA, tenant=tenant)

    def thing(n, **members):
        data = json.dumps({"n": n % 7, "s": f"{n * 37 % 1009:04d}"} | members).encode()
        return write(StateKey(tenant, "things", f"{n:04d}"), 0, data, status="new", owner="ada")

    await store.write([thing(n) for n in range(MOST_SORTED)])
    asked = ListRequest(filters=[Filter("n", "gte", ("0",))], sort="-s", size=size)
    seen, page = [], await lister.list_states(ada, namespace, asked)
    await store.write([write(StateKey(tenant, "things", "0000"), 1, b'{"n": -1}', owner="ada")])
    await store.write([thing(MOST_SORTED, s="zz")])  # the highest of all: before the pages to come
    while True:
        seen += [json.loads(state.data)["s"] for state in page.items]
        if not page.next_token:
            break
        page = await lister.list_states(ada, namespace, replace(asked, token=page.next_token))
    assert seen == sorted((f"{n * 37 % 1009:04d}" for n in range(1, MOST_SORTED)), reverse=True)
    await store.write([thing(MOST_SORTED + 1)])
    for filters, wanted in (
        (asked.filters, "narrow the filters."),
        ([Filter("n", "in", tuple("0123456"))], "declare an index (n,s)."),
    ):
        with pytest.raises(StateSortTooBroadError) as refused:
            await lister.list_states(ada, namespace, replace(asked, filters=filters))
        assert refused.value.detail.endswith(wanted)
        assert refused.value.metadata == {"namespace": "things", "most": "1000", "index": "(n)"}
        assert [violation.pointer for violation in refused.value.violations] == ["/sort"]
    few = await lister.list_states(ada, namespace, replace(asked, filters=[Filter("n", "lt", ("2",))], count_up_to=5000))
    assert (len(few.items), few.count) == (size, 287)
