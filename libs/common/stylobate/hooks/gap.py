"""Where a hook goes on in a log that was taken back, and what it missed there."""

from collections.abc import Mapping

from stylobate.hooks.port import Rebased
from stylobate.outbox import Position


def rebased(stored: Mapping[int, int], received: Mapping[int, int], there: Position) -> list[Rebased]:
    """Return where each partition goes on.

    :param stored: the number up to which events were dealt with, by partition.
    :param received: the number up to which they were received.
    :param there: where the log says that a reader of ``received`` goes on.
    """
    places = []
    for partition, passed in sorted(received.items()):
        number, dealt_with = there.numbers[partition], stored[partition]
        if number < passed:
            text = (
                f"LOG_TAKEN_BACK: numbers {number + 1} to {passed} are not in the log any more; others were given in their place"
            )
            places.append(Rebased(partition, min(number, dealt_with), passed, text))
        elif number > passed:
            text = f"POSITION_EXPIRED: numbers {dealt_with + 1} to {number} were removed before the hook dealt with them"
            places.append(Rebased(partition, number, number, text))
        else:
            places.append(Rebased(partition, dealt_with))
    return places
