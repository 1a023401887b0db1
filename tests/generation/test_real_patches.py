"""Real patches: what the codec loses comes back, from photographs of defects and from nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.contracts import CLEAN, TEST, TRAIN, InputImage
from tasks.diffusion.codec import Codec
from tasks.generation.real_patches import PatchLibraries, PatchLibrary, build_library, library_of, restore
from tasks.inputs.dataset import Inputs
from tasks.networks.device import HOST

SIZE = 48


class Blur(nn.Module):
    """A codec in all that matters here: what it decodes has lost the grain of what it encoded."""

    device = HOST

    def encode(self, images: Tensor) -> Tensor:
        return functional.avg_pool2d(images, 4)

    def decode(self, latents: Tensor) -> Tensor:
        return functional.interpolate(latents, scale_factor=4.0, mode="bilinear")


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Blur()  # type: ignore[return-value]


def grained(seed: int) -> np.ndarray:
    """A surface of stripes and speckles, (SIZE, SIZE, 3)."""
    generator = np.random.default_rng(seed)
    stripes = 120 + 40 * np.sin(np.arange(SIZE) * 2.1)[None, :, None]
    return np.clip(stripes + generator.normal(0, 25, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)


def square(margin: int = 12) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[margin:-margin, margin:-margin] = True
    return mask


def as_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1).float() / 127.5 - 1


def decoded(codec: Codec, image: np.ndarray) -> Tensor:
    return codec.decode(codec.encode(as_tensor(image)[None]))[0]


def test_a_known_defect_gets_back_what_the_codec_has_lost(codec: Codec) -> None:
    image, mask = grained(1), square()
    library = build_library(codec, [image], [mask], seed=0)
    result = restore(decoded(codec, image), mask, library, reach=0)
    inside = torch.from_numpy(mask)
    lost = (decoded(codec, image) - as_tensor(image))[:, inside].square().mean()
    left = (result - as_tensor(image))[:, inside].square().mean()
    assert left < 0.05 * lost


def test_pixels_that_no_patch_of_the_mask_holds_stay_as_they_are(codec: Codec) -> None:
    painted, mask = decoded(codec, grained(1)), square(20)
    result = restore(painted, mask, build_library(codec, [grained(2)], [square()], 0), reach=2)
    touched = torch.from_numpy(square(20 - 2 - 3))
    assert torch.equal(result[:, ~touched], painted[:, ~touched])
    assert not torch.equal(result[:, touched], painted[:, touched])


def test_grain_of_which_nothing_is_decoded_comes_back_from_its_own_place(codec: Codec) -> None:
    generator = np.random.default_rng(5)
    cell = generator.permuted(np.tile([90, 166], (12, 12, 8)), axis=2).reshape(12, 12, 4, 4)  # all of one mean
    grain = cell.transpose(0, 2, 1, 3).reshape(SIZE, SIZE, 1).repeat(3, axis=2).astype(np.uint8)
    exemplar, mask = as_tensor(grain), square()
    library = library_of(codec, exemplar, mask, reach=2)
    inside = torch.from_numpy(mask)
    assert decoded(codec, grain).std() < 1e-3
    painted = torch.full_like(exemplar, exemplar.mean())
    drawn = restore(painted, mask, library, reach=2)[:, inside]
    assert torch.allclose(drawn, exemplar[:, inside], atol=0.01)
    anywhere = restore(painted, mask, replace(library, places=None), reach=2)[:, inside]
    assert not torch.allclose(anywhere, exemplar[:, inside], atol=0.01)


def test_patches_of_another_photograph_bring_its_grain_and_do_not_average_it_away(codec: Codec) -> None:
    """Where every pixel was the mean of nearly fifty patches, a third of the grain was left."""
    painted, mask = decoded(codec, grained(1)), square()
    library = build_library(codec, [grained(2), grained(3)], [square(8), square(8)], 0)
    inside = torch.from_numpy(mask)
    grain = [
        fine[:, inside].std()
        for fine in (grain_of(restore(painted, mask, library, 2)), grain_of(as_tensor(grained(1))))
    ]
    assert 0.75 < grain[0] / grain[1] < 1.15


def grain_of(image: Tensor) -> Tensor:
    return image - functional.avg_pool2d(image[None], 3, 1, 1)[0]


def test_the_patches_of_a_defect_at_the_border_are_of_pixels_alone(codec: Codec) -> None:
    image, corner = grained(3), np.zeros((SIZE, SIZE), bool)
    corner[:9, :9] = True
    library = build_library(codec, [image], [corner], 0)
    windows = functional.unfold(torch.stack([as_tensor(image), as_tensor(image).flip(2)]), 7)
    held = {row.numpy().tobytes() for view in windows for row in view.T.contiguous()}
    assert len(library.real) > 100
    assert all(row.numpy().tobytes() in held for row in library.real)


def test_an_empty_mask_changes_nothing(codec: Codec) -> None:
    painted = decoded(codec, grained(1))
    library = build_library(codec, [grained(2)], [square()], 0)
    assert restore(painted, np.zeros((SIZE, SIZE), bool), library, reach=3) is painted


def test_of_two_real_patches_the_one_whose_decoded_twin_is_nearer_is_drawn_in_the_painted_colour() -> None:
    flat = torch.zeros(2, 3 * 49)
    twin = flat.clone()
    twin[1, ::2] = 0.5
    grain = torch.linspace(-0.2, 0.2, 49).repeat(3)
    library = PatchLibrary(decoded=twin, real=torch.stack([grain, torch.ones(3 * 49)]))
    result = restore(torch.full((3, 15, 15), 0.3), np.ones((15, 15), bool), library, reach=0)
    assert torch.allclose(result[:, 4:-4, 4:-4].mean(), torch.tensor(0.3), atol=0.02)
    assert result.max() < 0.6


def test_a_library_has_patches_of_the_defect_and_its_edge_mirrored_too_and_is_bounded(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, spot = grained(3), np.zeros((SIZE, SIZE), bool)
    spot[20, 20] = True
    library = build_library(codec, [image], [spot], 0)
    assert len(library.real) == 2 * 41  # of all pixels at most 4 steps along rows and columns away
    centre = as_tensor(image)[:, 17:24, 17:24]
    for view in (centre, centre.flip(2)):
        assert (library.real == view.flatten()).all(dim=1).any()
    monkeypatch.setattr("tasks.generation.real_patches._MOST", 30)
    assert len(build_library(codec, [image, grained(4)], [spot, square()], 0).real) == 30


def photograph(name: str, split: str, defect_type: str, category: str = "plate") -> InputImage:
    image = grained(sum(name.encode()))
    return InputImage(
        image_id=name,
        category=category,
        defect_type=defect_type,
        split=split,
        group=name,
        image=image,
        mask=None if defect_type == CLEAN else square(22),
        foreground=np.ones((SIZE, SIZE), bool),
        sha256=name,
        path=name,
        source="made",
        license="CC0-1.0",
    )


def test_libraries_come_from_the_types_own_train_defects(codec: Codec, tmp_path) -> None:
    images = (
        photograph("spot", TRAIN, "spot"),
        photograph("flake", TRAIN, "flake"),
        photograph("held", TEST, "spot"),
        photograph("good", TRAIN, CLEAN),
        photograph("bare", TRAIN, CLEAN, "sheet"),
    )
    inputs = Inputs(images, (), "inputs")
    libraries = PatchLibraries(inputs, tmp_path, seed=0)

    def same(found: PatchLibrary | None, *names: str) -> bool:
        wanted = [inputs.by_id(name) for name in names]
        expected = build_library(codec, [each.image for each in wanted], [square(22)] * len(wanted), 0)
        assert found is not None
        return bool((found.real.sort(0).values == expected.real.sort(0).values).all())

    assert same(libraries.of(codec, "plate", "spot"), "spot")
    assert same(libraries.of(codec, "plate", "flake"), "flake")
    assert same(libraries.of(codec, "plate", "a type without photographs"), "flake", "spot")
    assert libraries.of(codec, "sheet", "spot") is None
    without_test = replace(inputs, images=tuple(image for image in images if image.split == TRAIN))
    again = PatchLibraries(without_test, tmp_path, seed=0).of(codec, "plate", "spot")
    assert again is not None
    assert torch.equal(again.real, libraries.of(codec, "plate", "spot").real)
