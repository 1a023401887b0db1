"""The real patches of a dataset's defects, by category and type: built when first asked for, a few kept.

In: inputs and the folder of models, where pseudo-masks are. Out: libraries for `tasks.real_patches`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path

from tasks.contracts import Mask, ReferenceMask
from tasks.diffusion.codec import Codec
from tasks.inputs.dataset import Inputs
from tasks.masks.draw import references_of
from tasks.masks.pseudo_store import PSEUDO_MASKS, read_references
from tasks.real_patches import PatchLibrary, build_library
from tasks.seeds import choose, derive

_KEPT = 8
"""Libraries in memory, each of some 20 MB: a shard is of one category, whose types these are."""
_IMAGES = 64
"""Photographs that a library is built from, at most."""


class PatchLibraries:
    """Of the train split's defects. The same for any order of asking."""

    def __init__(self, inputs: Inputs, workdir: Path, seed: int) -> None:
        self._inputs, self._pseudo_masks, self._seed = inputs, workdir / PSEUDO_MASKS, seed
        self._built = lru_cache(_KEPT)(self._build)

    def of(self, codec: Codec, category: str, defect_type: str) -> PatchLibrary | None:
        """Patches of the type's defects, or of all of the category's; None where it has none with a mask."""
        return self._built(codec, category, defect_type)

    @cached_property
    def _references(self) -> Sequence[ReferenceMask]:
        return references_of(self._inputs, read_references(self._pseudo_masks))

    def _build(self, codec: Codec, category: str, defect_type: str) -> PatchLibrary | None:
        found = [reference for reference in self._references if reference.category == category]
        masks = _masks([each for each in found if each.defect_type == defect_type] or found)
        if not masks:
            return None
        chosen = sorted(choose(masks, _IMAGES))
        images = [self._inputs.by_id(name).image for name in chosen]
        seed = derive(self._seed, f"patches of {category} {defect_type}")
        return build_library(codec, images, [masks[name] for name in chosen], seed)


def _masks(references: Sequence[ReferenceMask]) -> dict[str, Mask]:
    return {reference.reference_id: reference.mask for reference in references}
