"""Every turn that a run may take, by name: the same seed and name always fall the same way."""

import hashlib
from collections.abc import Collection


class Dice:
    """Falls on 0, the ordinary course, unless chance wants otherwise.

    Each turn has a name, so that a run from which something was left out still takes its other turns as before.
    `only`: the turns that may be taken at all; `taken` lists those that were.
    """

    def __init__(self, seed: int, only: Collection[str] | None = None) -> None:
        self.taken: list[str] = []
        self._key = str(seed).encode()[:64]
        self._only = only

    def turn(self, name: str, chance: float, sides: int = 1) -> int:
        """0, or with this chance a number from 1 to `sides`."""
        if not chance or not sides or (self._only is not None and name not in self._only):
            return 0
        fallen = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, key=self._key).digest())
        if (fallen & 0xFFFFFF) >= chance * 0x1000000:
            return 0
        self.taken.append(name)
        return 1 + (fallen >> 24) % sides
