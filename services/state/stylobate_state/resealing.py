"""Sealing what is stored with the keys of now."""

from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

import orjson
from stylobate.encryption import DataKey, SealedInvalidError, key_id_of
from stylobate.json_members import Path, mapped

from stylobate_state.model import StateKey
from stylobate_state.namespace import Namespace
from stylobate_state.owner_keys import of_owner
from stylobate_state.sealing import Sealing, about_of, canonical, sealed_text


class Resealing:
    """Replaces ciphertext by that of the newest key: the namespace's, or that of the owner for whom it was sealed."""

    def __init__(self, sealing: Sealing) -> None:
        self._sealing = sealing

    async def anew(
        self, namespace: Namespace, key: StateKey, data: bytes, *, owner: str, is_patch: bool = False
    ) -> tuple[bytes, Sequence[Path]]:
        """Return stored data with its fields sealed with the key of now, the very same where they are; and what cannot be opened.

        :param owner: whose it is, where it was not sealed for an owner yet.
        :param is_patch: whether null stands for what is taken away.
        """
        keys, current = self._sealing.known, await self._sealing.current(namespace, key, owner)
        missing: list[str] = []
        unreadable: list[Path] = []
        successors = await self._successors(namespace, data)

        at = monotonic()

        def seal(path: Path, value: bytes) -> bytes:
            if is_patch and value == b"null":
                return value
            text, about = sealed_text(value), about_of(key, path)
            if text is None:  # from before the field was said to be encrypted
                return orjson.dumps(keys.seal(current, canonical(value), about))
            found, to = None, None
            with suppress(SealedInvalidError):
                id_ = key_id_of(text)
                to = successors.get(id_, current)
                if to is None or id_ == to.id:  # destroyed with its owner's account, or the newest
                    return value
                found = self._sealing.open(text, about, at)
                missing.extend([text] if found is None else ())
            if found is None or to is None:
                unreadable.append(path)
                return value
            return orjson.dumps(keys.seal(to, found, about))

        made = mapped(data, namespace.encrypted, seal)
        if missing:
            unreadable.clear()
            await self._sealing.fetch(missing)
            made = mapped(data, namespace.encrypted, seal)
        return made, unreadable

    async def _successors(self, namespace: Namespace, data: bytes) -> dict[str, DataKey | None]:
        """Return by the id of each owner's key in stored data the one that seals now; None: it was destroyed."""
        if (owners := self._sealing.owners) is None or not namespace.per_owner:
            return {}
        found: dict[str, str] = {}

        def note(_path: Path, value: bytes) -> bytes:
            with suppress(SealedInvalidError):
                if (text := sealed_text(value)) is not None and of_owner(text):
                    found[key_id_of(text)] = text
            return value

        mapped(data, namespace.encrypted, note)
        await owners.fetch(found.values())
        return {id_: await owners.successor(id_) for id_ in found}
