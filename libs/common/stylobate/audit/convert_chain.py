"""Between a stretch of the chain and what is told of it."""

from stylobate.api.audit.v1 import audit_service_pb2 as pb
from stylobate.audit.chain import Block, Stretch, faults
from stylobate.errors import InvalidInputError, Violation

BLOCKS = 50
"""How many are verified in one answer."""
_HASH_BYTES = 32
Known = tuple[int, bytes]


def to_known(request: pb.VerifyRecordsRequest) -> Known | None:
    """Return the number and hash of the block that must be there; None: none was named. Raises InvalidInputError."""
    if request.after < 0:
        raise InvalidInputError(violations=[Violation("/after", "is not the number of a block")])
    if not request.HasField("known"):
        return None
    try:
        known = bytes.fromhex(request.known.hash)
    except ValueError:
        known = b""
    if len(known) != _HASH_BYTES or request.known.number < 1:
        raise InvalidInputError(violations=[Violation("/known", "is not a block: a number from 1 and 64 hex digits")])
    return request.known.number, known


def from_stretch(service: str, stretch: Stretch, known: Known | None, kept: Block | None) -> pb.VerifyRecordsResponse:
    """Return how a stretch stands.

    :param kept: the block of the known one's number.
    """
    found = [pb.Fault(block=fault.block, detail=fault.what) for fault in faults(service, stretch)]
    before, head = stretch.before, stretch.head
    if known is not None:
        number, is_hash = known
        if kept is None and (head is None or head.number < number):
            found.append(pb.Fault(block=number, detail="it is not in the chain any more, which ends before it"))
        elif kept is not None and kept.hash != is_hash:
            found.append(pb.Fault(block=number, detail="it is another one than was known: the chain was made anew"))
    last = stretch.blocks[-1] if stretch.blocks else None
    goes_on = last is not None and head is not None and last.number < head.number
    return pb.VerifyRecordsResponse(
        faults=found,
        blocks=len(stretch.blocks),
        records=sum(block.count for block in stretch.blocks),
        reached=last.number if last is not None and goes_on else 0,
        head=_told(head),
        unsealed=stretch.unsealed,
        deleted=_told(before if before is not None and before.is_deleted else None),
    )


def _told(block: Block | None) -> pb.Block | None:
    if block is None:
        return None
    message = pb.Block(number=block.number, hash=block.hash.hex())
    message.time.FromDatetime(block.last_time)
    return message
