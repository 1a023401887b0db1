"""The mask generator: what it is taught, what counts as a mask, and that it learns a type's shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.contracts import TRAIN, Mask, ReferenceMask
from tasks.diffusion.codec import load_codec
from tasks.inputs.dataset import Inputs
from tasks.masks.place import crop
from tasks.networks.device import HOST
from tasks.params import Params
from tasks.progress import silent
from tasks.synthesis.anomalydiffusion import mask_inversion
from tasks.synthesis.anomalydiffusion.mask_inversion import CHECKPOINT, generate_masks, new_model
from tasks.synthesis.anomalydiffusion.mask_pictures import hugs_border, longest_side, mask_of, mask_pictures, picture_of
from tests.diffusion.tiny_stable_diffusion import save_tiny_pipeline
from tests.synthesis.places import blob, inputs_of, params_with, photograph

SIZE = 64


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less of everything that costs time."""
    for name, value in {
        "_CHANNELS": [32, 64],
        "_PICTURE_SIDE": 64,
        "_SAMPLING_STEPS": 8,
        "_PICTURES_PER_TYPE": 16,
    }.items():
        monkeypatch.setattr(mask_inversion, name, value)


def bar(row: int) -> Mask:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[row : row + 6, 10:54] = True
    return mask


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    plain = np.full((SIZE, SIZE, 3), 120, np.uint8)
    holes = [photograph(f"hole{n}", "hole", plain, blob(20 + 8 * n, 30, 9, SIZE)) for n in range(3)]
    bars = [photograph(f"bar{n}", "bar", plain, bar(16 + 10 * n)) for n in range(3)]
    held = photograph("held", "chip", plain, blob(30, 30, 9, SIZE), "test")
    return inputs_of(photograph("clean", image=plain), *holes, *bars, held)


def params_of(steps: int, wanted: int = 4, **blocks: object) -> Params:
    return params_with(
        dataset={"name": "parts", "image_size": SIZE, "threads": 1},
        codec=blocks.pop("codec", {"fine_tune_steps": 1, "batch_size": 2, "crop": 32}),
        masks={"learned_steps": steps, "learned_per_type": wanted},
        **blocks,
    )


def test_a_mask_comes_back_from_its_picture() -> None:
    for mask in (blob(30, 30, 12, SIZE), bar(20), blob(20, 40, 3, SIZE)):
        again = mask_of(picture_of(mask, 96), like=mask)
        assert again is not None
        assert abs(longest_side(again) - longest_side(mask)) <= 2
        middle = place_in_the_middle(mask)
        assert (again & middle).sum() / (again | middle).sum() > 0.75


def place_in_the_middle(mask: Mask) -> Mask:
    shape = crop(mask)
    top, left = ((SIZE - length) // 2 for length in shape.shape)
    placed = np.zeros_like(mask)
    placed[top : top + shape.shape[0], left : left + shape.shape[1]] = shape
    return placed


def test_every_type_has_as_many_pictures_and_no_two_are_alike(inputs: Inputs) -> None:
    known = [
        ReferenceMask(item.image_id, "part", item.defect_type, item.mask, False)
        for item in inputs.defects("part", TRAIN)
        if item.mask is not None
    ]
    pictures = mask_pictures(known[:4], 6, 96, np.random.default_rng(0))
    assert [item.defect_type for item in pictures] == ["bar"] * 6 + ["hole"] * 6
    assert all(item.mask.all() and item.image.shape == (96, 96, 3) for item in pictures)
    assert all(item.image.min() == 0 and item.image.max() > 240 for item in pictures)
    assert len({item.image.tobytes() for item in pictures}) == len(pictures)


def test_specks_are_no_part_of_a_mask() -> None:
    shape = blob(30, 30, 10, SIZE)
    speckled = picture_of(shape, 96)
    speckled[80, 80] = 1
    found, without = (mask_of(picture, shape) for picture in (speckled, picture_of(shape, 96)))
    assert found is not None
    assert without is not None
    assert np.array_equal(found, without)


def test_a_mask_is_no_longer_and_no_larger_than_a_real_one() -> None:
    dots = blob(10, 10, 3, SIZE) | blob(54, 50, 3, SIZE)
    stain = mask_of(picture_of(blob(30, 30, 12, SIZE), 96), like=dots)
    scratch = mask_of(picture_of(bar(20), 96), like=blob(30, 30, 12, SIZE))
    assert stain is not None
    assert scratch is not None
    assert 0.6 * dots.sum() < stain.sum() < 1.2 * dots.sum()
    assert abs(longest_side(scratch) - longest_side(blob(30, 30, 12, SIZE))) <= 2


def test_empty_pictures_and_those_that_hug_the_border_are_no_masks() -> None:
    empty = np.zeros((SIZE, SIZE), bool)
    assert mask_of(np.full((SIZE, SIZE), -1, np.float32), bar(20)) is None
    for side in range(4):
        hugging, touching = empty.copy(), empty.copy()
        hugging[:4, : SIZE // 3 + 1] = True
        touching[:4, : SIZE // 3] = True
        assert hugs_border(np.rot90(hugging, side))
        assert mask_of(np.where(np.rot90(hugging, side), 1, -1).astype(np.float32), bar(20)) is None
        assert not hugs_border(np.rot90(touching, side))


def test_masks_are_named_reproducible_and_of_the_train_split_alone(inputs: Inputs, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def die(what: str, done: int, steps: int) -> None:
        if what == "learning masks" and done == 3:
            raise Killed

    first = generate_masks(inputs, params_of(4), tmp_path / "a", HOST, silent)
    with pytest.raises(Killed):
        generate_masks(inputs, params_of(4), tmp_path / "b", HOST, die)
    again = generate_masks(inputs, params_of(4), tmp_path / "b", HOST, silent)
    assert [made.reference_id for made in first] == [made.reference_id for made in again]
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(first, again, strict=True))
    assert not (tmp_path / "a" / CHECKPOINT).exists()
    assert {made.defect_type for made in first} <= {"bar", "hole"}
    for made in first:
        assert made.learned
        assert made.reference_id.startswith(f"learned/textual_inversion/part/{made.defect_type}/")


def test_a_types_masks_have_its_shape(inputs: Inputs, tmp_path: Path) -> None:
    masks = generate_masks(inputs, params_of(60, wanted=8), tmp_path, HOST, silent)

    def aspect(mask: Mask) -> float:
        return float(np.ptp(np.flatnonzero(mask.any(axis=0))) + 1) / (np.ptp(np.flatnonzero(mask.any(axis=1))) + 1)

    aspects = {kind: [aspect(made.mask) for made in masks if made.defect_type == kind] for kind in ("bar", "hole")}
    assert len(aspects["bar"]) == len(aspects["hole"]) == 8
    assert np.median(aspects["bar"]) > 2 > np.median(aspects["hole"])


def test_a_frozen_backbone_learns_tokens_alone(inputs: Inputs, tmp_path: Path) -> None:
    folder = str(save_tiny_pipeline(tmp_path / "pipeline"))
    params = params_of(
        2,
        wanted=1,
        codec={"kind": "pretrained", "path": f"{folder}/vae"},
        backbone={"kind": "pretrained", "path": folder},
    )
    codec = load_codec(params.codec)
    known = [ReferenceMask("a", "part", "bar", bar(20), False), ReferenceMask("b", "part", "hole", bar(20), False)]
    model = new_model(codec, mask_pictures(known, 1, SIZE, np.random.default_rng(0)), params, seed=1)
    assert list(model.denoiser.trained_state()) == ["tokens"]
    assert {made.defect_type for made in generate_masks(inputs, params, tmp_path, HOST, silent)} <= {"bar", "hole"}


def test_nothing_to_learn_from_gives_no_masks(inputs: Inputs, tmp_path: Path) -> None:
    cleans = inputs_of(*inputs.clean("part", TRAIN), *inputs.defects("part", "test"))
    assert generate_masks(cleans, params_of(2), tmp_path, HOST, silent) == []
