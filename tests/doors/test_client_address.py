"""A client has one address, whichever door it comes to and however its proxies write it."""

import pytest

from .conftest import Seen

pytestmark = pytest.mark.asyncio(loop_scope="module")
ME = "127.0.0.1"
"""The peer of every connection here; a trusted proxy."""
V4, V6, NET6 = "203.0.113.9", "2001:db8:9:9:a:b:c:d", "2001:db8:9:9::/64"

CASES: list[tuple[str, list[str], str, str]] = [
    # what is told, the header lines, the client's address, what limits count
    ("no header", [], ME, ME),
    ("ip", [V4], V4, V4),
    ("ip:port", [f"{V4}:4711"], V4, V4),
    ("v6", [V6], V6, NET6),
    ("v6 in another spelling", ["2001:0DB8:0009:9:A:B:C:D"], V6, NET6),
    ("[v6]", [f"[{V6}]"], V6, NET6),
    ("[v6]:port", [f"[{V6}]:443"], V6, NET6),
    ("quoted ip", [f'"{V4}"'], V4, V4),
    ("quoted [v6]:port", [f'"[{V6}]:443"'], V6, NET6),
    ("v4 mapped into v6", [f"::ffff:{V4}"], V4, V4),
    ("v4 mapped, in hexadecimal, with port", ["[::ffff:cb00:7109]:1"], V4, V4),
    ("zone id", ["fe80::1%eth0"], "fe80::1", "fe80::/64"),
    ("[v6%zone]:port", ["[fe80::1%eth0]:80"], "fe80::1", "fe80::/64"),
    ("the neighbour in the same /64", ["2001:db8:9:9:ffff::1"], "2001:db8:9:9:ffff::1", NET6),
    ("through trusted proxies", [f"{V4}, 10.0.0.7, 10.0.0.8:80"], V4, V4),
    ("through trusted proxies of both kinds", [f"{V4},[2001:db8:1::5]:1,::ffff:10.0.0.1"], V4, V4),
    ("through a network trusted as mapped", [f"{V4}, 198.51.100.77"], V4, V4),
    ("trusted proxies only", ["10.0.0.6, 10.0.0.7"], "10.0.0.6", "10.0.0.6"),
    ("what the client made up", [f"1.1.1.1, {V4}, 10.0.0.7"], V4, V4),
    ("tabs and spaces", [f"\t {V4} \t,10.0.0.7\t"], V4, V4),
    ("several header lines", ["1.1.1.1", f"2.2.2.2, {V4}", "10.0.0.7"], V4, V4),
    ("words further left", [f"made up, {V4}"], V4, V4),
    ("words last", [f"{V4}, made up"], ME, ME),
    ("words behind a proxy", [f"{V4}, unknown, 10.0.0.7"], "10.0.0.7", "10.0.0.7"),
    ("empty element last", [f"{V4},"], ME, ME),
    ("empty element behind a proxy", [f"{V4},,10.0.0.7"], "10.0.0.7", "10.0.0.7"),
    ("empty header", [""], ME, ME),
    ("empty second line", [V4, ""], ME, ME),
    ("Forwarded's syntax", [f"{V4}, for={V4}"], ME, ME),
    ("port out of range", [f"{V4}:65536"], ME, ME),
    ("port of words", [f"{V4}:http"], ME, ME),
    ("port without digits", [f"{V4}:"], ME, ME),
    ("port in other digits", [f"{V4}:\u0661"], ME, ME),
    ("bare v6 with a port is a longer v6", ["2001:db8:9:9::c:443"], "2001:db8:9:9::c:443", NET6),
    ("leading zeros", ["203.0.113.009"], ME, ME),
    ("three parts", ["203.0.113"], ME, ME),
    ("a number", ["3405803785"], ME, ME),
    ("[v4]", [f"[{V4}]"], ME, ME),
    ("zone on v4", [f"{V4}%eth0"], ME, ME),
    ("markup as zone", ["fe80::1%<b>"], ME, ME),
    ("bracket not closed", [f"[{V6}"], ME, ME),
    ("quote not closed", [f'"{V4}'], ME, ME),
    ("comma in quotes", [f'"{V4},10.0.0.7"'], ME, ME),
    ("network", [f"{V4}/32"], ME, ME),
    ("a kilobyte", ["1" * 1000], ME, ME),
    ("600 hops", [f"{V4}{',10.0.0.7' * 600}"], V4, V4),
]


@pytest.mark.parametrize(("lines", "address", "counted"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
async def test_both_doors_read_it_alike(doors, door, lines, address, counted):
    """One table for HTTP and WebSocket: limits count the key, the services behind are told the address itself."""
    # header values are bytes: what is not ASCII arrives as its UTF-8 bytes
    sent = [line.encode().decode("latin-1") for line in lines]
    assert await doors.ask(door, sent) == Seen(counted, address, "tests/1")


@pytest.mark.parametrize(
    ("where", "trusted", "address"),
    [
        ("127.0.0.1:0", (), ME),
        ("127.0.0.1:0", ("10.0.0.0/8",), ME),
        ("[::1]:0", (), "::1"),
        ("[::1]:0", ("::1/128",), V4),
        ("unix:{}/door", (), "local"),
        ("unix:{}/door", ("127.0.0.0/8",), "local"),
    ],
)
async def test_whose_word_is_believed(run_doors, door, tmp_path, where, trusted, address):
    """Nobody's header counts unless its peer is a trusted proxy; who comes over a unix socket is not an address at all."""
    async with run_doors(where.format(tmp_path), trusted) as doors:
        assert (await doors.ask(door, [V4])).address == address


@pytest.mark.parametrize(
    ("agent", "told"),
    [("curl/8.5", "curl/8.5"), ("", ""), ("Gr\xfc\xdfe\t1", "Gr??e?1"), ("x" * 4000, "x" * 256)],
    ids=["plain", "none", "not ASCII", "long"],
)
async def test_the_agent_is_told_as_it_can_travel(doors, door, agent, told):
    """What is not printable ASCII is replaced, what is long is cut: both doors alike."""
    assert (await doors.ask(door, [], agent)).agent == told
