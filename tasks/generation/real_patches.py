"""Real pixels for painted ones: what the codec blurs is drawn anew with patches of real defects.

In: an image that a latent system painted, and the train split's real defects of its type, or the one real defect that
it started from. Out: the same image, its mask filled with patches of photographs. A small codec's decoder leaves smooth
surfaces and a grid of its own, and a detector that is trained on them looks for those. But what it makes of a real
defect is known: so a real patch is found by its decoded twin, as in example-based super-resolution (Freeman, Jones &
Pasztor, 2002), and overlapping patches vote, as in GPNN (Granot et al., "Drop the GAN", CVPR 2022). The composition
stays the painter's; the grain is the camera's.

The libraries of a dataset, by category and type, are built when they are first asked for, and a few are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from tasks.contracts import Image, Mask, ReferenceMask
from tasks.diffusion.codec import Codec, decode_plain
from tasks.diffusion.latents import to_tensor
from tasks.files.names import PSEUDO_MASKS
from tasks.inputs.dataset import Inputs
from tasks.masks.draw import references_of
from tasks.masks.place import bounding_box
from tasks.masks.pseudo_store import read_references
from tasks.networks.device import lower_precision
from tasks.quality.change import distance_to, within
from tasks.seeds import choose, derive, torch_generator

PATCH_SIDE = 7
"""Pixels of a patch: about a cell of the codec, below which its decoder blurs."""
_AROUND = 4
"""Pixels around a defect whose patches are kept too, so that its edge has a surface to end on."""
_MOST = 20_000
"""Patches of one library, of each image an equal share: the search takes time in proportion."""
_NEARNESS = 0.02
"""A pixel between two places of the same picture counts as much as such a difference in one of a patch's values."""
_EVERY = 4
"""Pixels from one exchanged patch to the next, either way: three overlap in a pixel. Where all did, their mean was
without grain: a third of a photograph's, against four fifths so."""
_DIRECTIONS = 32
"""In which patches are compared, the principal ones of a library: 97 % of its variance, at a fifth of the cost."""
_BLOCK = 64
"""Patches searched at a time: their distances to a whole library stay in the processor's cache."""
_KEPT = 8
"""Libraries in memory, each of some 20 MB: a shard is of one category, whose types these are."""
_IMAGES = 64
"""Photographs that a library is built from, at most."""


@dataclass(frozen=True)
class PatchLibrary:
    """Patches of real defects, (n, 3 * SIDE * SIDE) in [-1, 1], row by row the same place of two images."""

    decoded: Tensor
    """What the codec makes of the photograph."""
    real: Tensor
    """The photograph."""
    places: Tensor | None = None
    """(n, 2) rows and columns, of a photograph that the painted image follows: a patch is looked for near its place."""

    @cached_property
    def offered(self) -> Tensor:
        """What patches of an image are compared with."""
        return self.features(self.decoded, self.places)

    def features(self, patches: Tensor, places: Tensor | None) -> Tensor:
        """The structure of patches (n, 3 * SIDE * SIDE), and where it counts their places: (n, features)."""
        structure = (patches - _mean(patches)) @ self._directions
        return structure if places is None else torch.cat([structure, _NEARNESS * places], dim=1)

    @cached_property
    def _directions(self) -> Tensor:
        """The principal ones of the decoded patches' structure, (3 * SIDE * SIDE, directions)."""
        structure = self.decoded - _mean(self.decoded)
        return torch.linalg.eigh(structure.T @ structure).eigenvectors[:, -_DIRECTIONS:]


@torch.no_grad()
def build_library(codec: Codec, images: Sequence[Image], masks: Sequence[Mask], seed: int) -> PatchLibrary:
    """The patches in and around the defects of one image or more, as they are and mirrored, some chosen by `seed`."""
    generator, share = torch_generator(seed), max(1, _MOST // len(images))
    pairs = (_pairs(codec, image, mask) for image, mask in zip(images, masks, strict=True))  # one at a time in memory
    kept = [pair[:, torch.randperm(pair.shape[1], generator=generator)[:share]] for pair in pairs]
    decoded, real = torch.cat(kept, dim=1)
    return PatchLibrary(decoded, real)


@torch.no_grad()
def library_of(codec: Codec, exemplar: Tensor, mask: Mask, reach: int) -> PatchLibrary:
    """The patches of the one real defect, in the picture (3, height, width), that a painter started from."""
    inside = _inside(mask, reach, exemplar.device)
    decoded, real = _patches(_decoded_and_real(codec, exemplar[None]))[:, inside]
    return PatchLibrary(decoded, real, _places(mask, inside))


def _decoded_and_real(codec: Codec, photograph: Tensor) -> Tensor:
    with lower_precision(photograph.device):
        latents = codec.encode(photograph).float()
    return torch.cat([decode_plain(codec, latents), photograph])


def _pairs(codec: Codec, image: Image, mask: Mask) -> Tensor:
    """(2, n, 3 * SIDE * SIDE): decoded and real."""
    both = _decoded_and_real(codec, to_tensor([image], codec.device))
    near = torch.from_numpy(_wanted(mask)).to(codec.device)
    views = [_patches(view)[:, seen.flatten()] for view, seen in ((both, near), (both.flip(3), near.flip(1)))]
    return torch.cat(views, dim=1)


def _wanted(mask: Mask) -> Mask:
    """Where patches of a defect are centred: of pixels alone, not of what a border is mirrored to, if there are any."""
    near: Mask = ndimage.binary_dilation(mask, iterations=_AROUND)
    whole = np.zeros_like(near)
    edge = PATCH_SIDE // 2
    whole[edge:-edge, edge:-edge] = near[edge:-edge, edge:-edge]
    return whole if whole.any() else near


def restore(image: Tensor, mask: Mask, library: PatchLibrary, reach: int) -> Tensor:
    """The image (3, height, width) with real patches in the mask and up to `reach` pixels around it.

    Patches of the image, one every few pixels, are exchanged for the real one whose decoded twin has the most similar
    structure, its mean colour taken away; the image's own is put back. A pixel is the mean of the patches that hold it,
    weighted by how central it is in them. Grain leaves no trace in what a codec decodes: there places tell neighbours
    apart, so that they bring the same photograph's and do not average it away.
    """
    if not mask.any():
        return image
    top, left, window = _window(mask, reach + _EVERY + PATCH_SIDE // 2)
    result = image.clone()
    result[:, *window] = _restored(image[:, *window], mask[window], library, reach, image.new_tensor([top, left]))
    return result


def _window(mask: Mask, margin: int) -> tuple[int, int, tuple[slice, slice]]:
    """The part of the image that the mask and a margin lie in: its top, its left, both on the grid, and its slices."""
    first_row, first_column, height, width = bounding_box(mask)
    top, left = (max(0, first - margin) // _EVERY * _EVERY for first in (first_row, first_column))
    bottom, right = first_row + height + margin, first_column + width + margin  # a slice ends where the image does
    return top, left, (slice(top, bottom), slice(left, right))


def _restored(image: Tensor, mask: Mask, library: PatchLibrary, reach: int, corner: Tensor) -> Tensor:
    """A window of an image, whose corner (2,) lies at that row and column of it."""
    exchanged = _inside(mask, reach + _EVERY, image.device) & _grid(mask, image.device)
    painted = _patches(image[None])[0, exchanged]
    wanted = library.features(painted, None if library.places is None else corner + _places(mask, exchanged))
    found = _nearest(wanted, library.offered)
    drawn = library.real[found] + _mean(painted) - _mean(library.decoded[found])
    inside = _inside(mask, reach, image.device).view(mask.shape)
    return torch.where(inside, _vote(image, drawn, exchanged), image)


def _inside(mask: Mask, reach: int, device: torch.device) -> Tensor:
    """(height * width,) of bool."""
    return torch.from_numpy(within(distance_to(mask), reach)).flatten().to(device)


def _grid(mask: Mask, device: torch.device) -> Tensor:
    """(height * width,) of bool: every so many pixels."""
    grid = torch.zeros(mask.shape, dtype=torch.bool, device=device)
    grid[::_EVERY, ::_EVERY] = True
    return grid.flatten()


def _places(mask: Mask, inside: Tensor) -> Tensor:
    rows, columns = (torch.arange(length, device=inside.device) for length in mask.shape)
    return torch.cartesian_prod(rows, columns)[inside].float()


def _vote(image: Tensor, patches: Tensor, inside: Tensor) -> Tensor:
    def spread(values: Tensor) -> Tensor:
        everywhere = patches.new_zeros(len(inside), patches.shape[1])
        everywhere[inside] = values
        folded: Tensor = functional.fold(everywhere.T[None], image.shape[1:], PATCH_SIDE, padding=PATCH_SIDE // 2)[0]
        return folded

    weight = _centrality().to(patches.device).expand_as(patches)
    total = spread(weight)
    return torch.where(total > 0, spread(weight * patches) / total.clamp_min(1e-6), image)


def _patches(images: Tensor) -> Tensor:
    """(n, 3, height, width) to the patch around each pixel, (n, height * width, 3 * SIDE * SIDE); mirrored borders."""
    return functional.unfold(functional.pad(images, [PATCH_SIDE // 2] * 4, mode="reflect"), PATCH_SIDE).transpose(1, 2)


def _mean(patches: Tensor) -> Tensor:
    """Each patch's mean colour, (n, 3 * SIDE * SIDE)."""
    return patches.unflatten(1, (3, -1)).mean(2, keepdim=True).expand(-1, -1, PATCH_SIDE * PATCH_SIDE).flatten(1)


def _nearest(wanted: Tensor, offered: Tensor) -> Tensor:
    """Of each wanted row the number of the nearest offered one: |w - o|^2 without |w|^2, the same for all o."""
    squares, columns = offered.square().sum(1), offered.T.contiguous()
    return torch.cat([torch.addmm(squares, rows, columns, alpha=-2).argmin(1) for rows in wanted.split(_BLOCK)])


def _centrality() -> Tensor:
    """A Gaussian of one pixel's width around a patch's centre, (3 * SIDE * SIDE,)."""
    steps = torch.arange(PATCH_SIDE) - PATCH_SIDE // 2
    weight = torch.exp(-(steps[:, None] ** 2 + steps[None] ** 2) / 2)
    return weight.flatten().repeat(3)


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
