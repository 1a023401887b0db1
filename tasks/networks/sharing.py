"""Networks that several systems hold: one copy in memory, gone with the last who holds it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

from torch import nn

_Network = TypeVar("_Network", bound=nn.Module)


class SharedNetworks(Generic[_Network]):
    """Frozen networks by the fingerprint of all that they are made of, device included. Nobody may change one."""

    def __init__(self) -> None:
        self._held: WeakValueDictionary[str, _Network] = WeakValueDictionary()

    def get(self, made_from: str, load: Callable[[], _Network]) -> _Network:
        """The one that somebody holds, else a new one."""
        held = self._held.get(made_from)
        if held is None:
            held = self._held[made_from] = load()
        return held
