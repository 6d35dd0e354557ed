"""Task ids by the million: as unguessable as uuid4's, and told again from a seed instead of being kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import overload

#: ids made at a time
BLOCK = 500
_BYTES = 16 * BLOCK
#: every id of a block with the bits of a uuid of version 4 cleared, and set
_CLEAR = int.from_bytes(bytes.fromhex("ffffffffffff0fff3fffffffffffffff") * BLOCK)
_SET = int.from_bytes(bytes.fromhex("00000000000040008000000000000000") * BLOCK)


class Ids(Sequence[str]):
    """The ids of a run, in order. A million of them take no memory: they follow from 16 random bytes."""

    def __init__(self, seed: bytes | None = None) -> None:
        self._seed = os.urandom(16) if seed is None else seed
        self._count = 0
        #: where a task's own `apply_async` has chosen another id
        self._others: dict[int, str] = {}
        self._latest: tuple[int, list[str]] = (-1, [])

    def block(self, number: int) -> list[str]:
        """Return BLOCK ids, those from `number * BLOCK` on; some may not be in use yet."""
        if self._latest[0] != number:
            self._latest = (number, _block(self._seed, number))
        return self._latest[1]

    def limit(self, count: int) -> None:
        """Say how many there are."""
        self._count = count

    def replace(self, index: int, other: str) -> None:
        """Have another id at a place."""
        self._others[index] = other

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._at(place) for place in range(*index.indices(self._count))]
        place = index + self._count if index < 0 else index
        if not 0 <= place < self._count:
            raise IndexError(index)
        return self._at(place)

    def __repr__(self) -> str:
        return f"<{self._count} ids>"

    def _at(self, place: int) -> str:
        return self._others.get(place) or self.block(place // BLOCK)[place % BLOCK]


def _block(seed: bytes, number: int) -> list[str]:
    digest = hashlib.shake_256(seed + number.to_bytes(8)).digest(_BYTES)
    h = f"{int.from_bytes(digest) & _CLEAR | _SET:0{2 * _BYTES}x}"
    return [
        f"{h[at : at + 8]}-{h[at + 8 : at + 12]}-{h[at + 12 : at + 16]}-{h[at + 16 : at + 20]}-{h[at + 20 : at + 32]}"
        for at in range(0, 2 * _BYTES, 32)
    ]
