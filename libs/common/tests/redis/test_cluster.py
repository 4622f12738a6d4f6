"""A Cluster: commands, scripts and channels find the master that has their slot."""

import asyncio
from datetime import timedelta

import pytest
from stylobate.config import ConfigError
from stylobate.errors import RedisUnavailableError
from stylobate.health import Status
from stylobate.redis import RedisManager, Script, spread_tags
from stylobate.redis.slots import COUNT, ranges, slot_of
from stylobate.testing.until import until
from stylobate.testing.valkey_cluster import ValkeyCluster

INCREMENT = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
BOTH = Script("redis.call('INCR', KEYS[1]); return redis.call('INCR', KEYS[2])")
PATIENCE = timedelta(seconds=30)


def test_a_slot_is_told_from_what_stands_between_the_first_braces():
    """As the specification has it: the checksum of its example, tags, and braces with nothing between them."""
    assert slot_of("123456789") == 0x31C3
    assert slot_of("{user1000}.following") == slot_of("{user1000}.followers") == slot_of(b"user1000")
    assert slot_of("foo{}{bar}") != slot_of("bar")
    assert slot_of("foo{{bar}}zap") == slot_of("{bar")
    assert slot_of("foo{bar}{zap}") == slot_of("bar")


def test_tags_lie_evenly_over_the_slots_and_stay_the_same():
    """Of 8 each is in another eighth; a change of one would begin every count anew."""
    tags = spread_tags("limits", 8)
    assert [slot_of(tag) * 8 // COUNT for tag in tags] == list(range(8))
    assert tags[:3] == ("limits0.11", "limits1.3", "limits2.3")


def test_slots_are_said_as_ranges():
    """In few words, for people."""
    assert ranges([0, 1, 2, 7, 9, 10]) == "0-2 7 9-10"
    assert ranges([]) == ""


async def test_commands_and_scripts_go_to_the_master_of_their_key(redis_cluster, valkey_cluster):
    """Keys of all masters answer, in one connection to each; a script is loaded at each of them where it is unknown."""
    await asyncio.gather(*(redis_cluster.call("SET", f"key:{n}", n) for n in range(200)))
    replies = await asyncio.gather(*(redis_cluster.call("GET", f"key:{n}") for n in range(200)))
    assert replies == [str(n).encode() for n in range(200)]
    assert min(await valkey_cluster.all("DBSIZE")) > 20
    for _ in range(2):
        await valkey_cluster.all("SCRIPT", "FLUSH")
        await asyncio.gather(*(redis_cluster.run(INCREMENT, [f"count:{n}"], [2]) for n in range(30)))
    assert await redis_cluster.call("GET", "count:7") == b"4"
    health = await redis_cluster.health()
    assert (health.status, health.metrics["masters_connected"], health.metrics["slots"]) == (Status.HEALTHY, 3, COUNT)


async def test_channels_are_heard_by_name_and_by_pattern(redis_cluster):
    """By name at the node of the channel's slot, by pattern wherever it was published; in order, what was removed no more."""
    named, matched = asyncio.Queue(), asyncio.Queue()
    subscription = await redis_cluster.subscribe(["n0"], lambda *said: named.put_nowait(said), is_exact=True)
    await redis_cluster.subscribe(["p:*"], lambda *said: matched.put_nowait(said))
    await asyncio.gather(*(subscription.add(f"n{n}", PATIENCE) for n in range(1, 9)))
    assert subscription.is_connected
    for n in range(90):
        assert await redis_cluster.publish(f"n{n % 9}", str(n).encode()) == 1
    heard = [await named.get() for _ in range(90)]
    for channel in range(9):
        assert [int(payload) for name, payload in heard if name == f"n{channel}"] == list(range(channel, 90, 9))
    assert await redis_cluster.publish_all([(f"p:{n}", b"%d" % n) for n in range(90)]) == []
    assert [await matched.get() for _ in range(90)] == [(f"p:{n}", b"%d" % n) for n in range(90)]
    subscription.remove("n3")
    await until(lambda: redis_cluster.publish("n3", b""), lambda count: count == 0)


async def test_a_slot_that_moves_under_load_loses_nothing(redis_cluster, valkey_cluster):
    """Every increment is counted once, whichever node has the key; scripts of two keys wait while these are apart."""
    slot = slot_of("{moved}")
    source = valkey_cluster.node_of(slot)
    target = (source + 1) % 3
    heard, back = asyncio.Queue(), asyncio.Event()
    subscription = await redis_cluster.subscribe(
        ["{moved}:news"], lambda _, payload: heard.put_nowait(payload), is_exact=True, on_reconnect=back.set
    )
    for n in range(40):
        await redis_cluster.call("SET", f"{{moved}}:{n}", 0)
    is_over = False
    single, pairs = 0, 0

    async def one(worker):
        nonlocal single
        while not is_over:
            await redis_cluster.run(INCREMENT, [f"{{moved}}:{worker}"], [1])
            await redis_cluster.call("INCR", f"{{moved}}:new:{worker}")
            single += 1

    async def two(worker):
        nonlocal pairs
        while not is_over:
            await redis_cluster.run(BOTH, [f"{{moved}}:{10 + worker}", f"{{moved}}:{30 + worker}"])
            pairs += 1

    async def further(rounds):
        begun = rounds()
        await until(lambda: rounds() > begun + 20)

    async def look():
        await further(lambda: single)  # some keys are here and some there: pairs may wait, and the others go on

    workers = [asyncio.create_task(work(number)) for work in (one, two) for number in range(4)]
    await valkey_cluster.move(slot, source, target, pause=look)
    await further(lambda: pairs)
    await until(lambda: redis_cluster.publish("{moved}:news", b"x"), lambda count: count == 1)
    assert await heard.get() == b"x"
    await asyncio.wait_for(back.wait(), 60)
    assert subscription.is_connected
    await valkey_cluster.move(slot, target, source)
    await further(lambda: pairs)
    is_over = True
    await asyncio.gather(*workers)
    for names, rounds in (
        (range(4), single),
        ([f"new:{number}" for number in range(4)], single),
        (range(10, 14), pairs),
        (range(30, 34), pairs),
    ):
        counted = [int(await redis_cluster.call("GET", f"{{moved}}:{name}")) for name in names]
        assert sum(counted) == rounds


async def test_a_slot_without_a_master_is_said_and_waited_for(tmp_path):
    """Where not all slots are given it opens, says in one line which are missing, and is well once somebody has them."""
    async with ValkeyCluster.running(tmp_path, masters=2, replicas=0, slots=12_000) as cluster:
        here = next(f"k{n}" for n in range(99) if slot_of(f"k{n}") < 12_000)
        nowhere = next(f"k{n}" for n in range(99) if slot_of(f"k{n}") >= 12_000)
        async with RedisManager.open(cluster.url) as redis:
            health = await redis.health()
            assert health.status is Status.DEGRADED
            assert "slots 12000-16383 belong to no node of the Cluster: waiting for a master that has them" in health.details
            assert await redis.call("SET", here, "1") == b"OK"
            with pytest.raises(RedisUnavailableError) as caught:
                await redis.call("SET", nowhere, "1")
            assert "slots 12000-16383" in caught.value.metadata["cause"]
            await cluster.call(1, "CLUSTER", "ADDSLOTSRANGE", 12_000, COUNT - 1)
            await until(redis.health, lambda found: found.status is Status.HEALTHY)
            assert await redis.call("SET", nowhere, "1") == b"OK"
        await cluster.call(0, "CONFIG", "SET", "cluster-announce-ip", "127.0.0.9")  # where nobody listens
        async with RedisManager.open(f"redis+cluster://127.0.0.1:{cluster.ports[0]}") as redis:
            details = (await redis.health()).details
            assert f"127.0.0.9:{cluster.ports[0]}, as the Cluster announces it, master of slots 0-" in details


async def test_a_node_that_is_not_in_the_cluster_any_more_is_not_believed(valkey_cluster, tmp_path):
    """One that was taken out knows of no slots; it stands first in the URL, and the others are asked."""
    out = ValkeyCluster(tmp_path, masters=1, replicas=0)
    await out.nodes[0].start()
    await out.nodes[0].ready()
    first = f"redis+cluster://127.0.0.1:{out.ports[0]}"
    async with RedisManager.open(first) as redis:
        assert "slots 0-16383 belong to no node" in (await redis.health()).details
    async with RedisManager.open(valkey_cluster.url.replace("redis+cluster://", f"{first},")) as redis:
        assert (await redis.health()).status is Status.HEALTHY
    await out.stop()


async def test_a_url_that_leads_to_another_kind_of_server_is_refused(redis_url, valkey_cluster):
    """In one line that says how the URL begins."""
    node = valkey_cluster.url.rpartition(",")[2]
    with pytest.raises(ConfigError, match=r"it is a node of a Cluster: its URL begins with redis\+cluster://"):
        async with RedisManager.open(f"redis://{node}"):
            pass
    with pytest.raises(ConfigError, match=r"it is not a Sentinel: its URL begins with redis://"):
        async with RedisManager.open(f"redis+sentinel://{node}/shop"):
            pass
    for port in (await valkey_cluster.call(0, "CONFIG", "GET", "port"))[1:]:
        async with RedisManager.open(f"redis+cluster://127.0.0.1:{int(port)}") as redis:
            assert (await redis.health()).status is Status.HEALTHY  # one node is enough to find the others
