"""A client's address, for whatever text a proxy or anybody else writes. What both doors make of it: tests/doors."""

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st
from stylobate.identity import ClientAddresses, limit_key

_v4 = st.ip_addresses(v=4)
_v6 = st.ip_addresses(v=6)
_port = st.integers(0, 65535)
_junk = st.text(st.characters(blacklist_characters=",", min_codepoint=1, max_codepoint=255)).filter(
    lambda text: ClientAddresses(["192.0.2.1/32"]).of("192.0.2.1", [text]) == "192.0.2.1"
)


def _plain(address: IPv4Address | IPv6Address) -> str:
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


@given(address=_v4 | _v6, port=_port, data=st.data())
def test_every_spelling_is_the_same_address(address, port, data):
    """However a proxy spells an address, the client is the same and is counted the same."""
    spellings = [str(address)]
    if isinstance(address, IPv4Address):
        spellings += [f"{address}:{port}", f"::ffff:{address}", f"[::ffff:{address}]:{port}"]
    else:
        spellings += [f"[{address}]", f"[{address}]:{port}", address.exploded.upper(), f"[{address}%en0]:{port}"]
    text = data.draw(st.sampled_from([*spellings, *(f'"{spelling}"' for spelling in spellings)]))
    found = ClientAddresses(["192.0.2.1/32"]).of("192.0.2.1", [text])
    assert found == _plain(address)
    assert limit_key(found) == limit_key(_plain(address))


@given(trusted=st.lists(st.sampled_from(["10.0.0.1", "[fd00::1]:9", "::ffff:10.9.9.9"])), junk=_junk, left=st.lists(_v4 | _junk))
def test_nothing_left_of_what_cannot_be_read_is_believed(trusted, junk, left):
    """Whatever stands further left, the address believed last counts: the nearest trusted proxy that was read."""
    addresses = ClientAddresses(["10.0.0.0/8", "fd00::/8"])
    elements = [*(str(entry) for entry in left), junk, *trusted]
    found = addresses.of("10.0.0.9", [",".join(elements)])
    assert found == addresses.of("10.0.0.9", [",".join(trusted)] if trusted else [])


@given(forwarded=st.lists(st.text(max_size=50), max_size=5), peer=st.text(max_size=30))
def test_whatever_comes_there_is_an_address(forwarded, peer):
    """No text of any kind makes it fail, and what it gives is an address in the one spelling."""
    found = ClientAddresses(["0.0.0.0/0", "::/0"]).of(peer, forwarded)
    assert found == "local" or ClientAddresses(["10.0.0.0/8"]).of(found) == found
    assert limit_key(found)


def test_one_customer_is_counted_once():
    """All addresses of a /64 share a key; those of the next do not."""
    keys = {limit_key(f"2001:db8::{host:x}") for host in (0, 1, 0xFFFF)}
    assert keys == {"2001:db8::/64"}
    assert limit_key("2001:db8:0:1::") == "2001:db8:0:1::/64"
