"""The generator of masks: what its codec keeps, and that it draws masks, new ones, of the train split's kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from tasks.contracts import CLEAN, TEST, TRAIN, InputImage, Mask, ReferenceMask
from tasks.files.hashing import file_sha256
from tasks.inputs.dataset import Inputs
from tasks.networks.device import HOST
from tasks.params import Params
from tasks.params.systems import MaskCodecParams
from tasks.progress import silent
from tasks.synthesis.vq_transformer.mask_codec import MaskCodec, MaskCodecTraining
from tasks.synthesis.vq_transformer.mask_prior import MASK_CODEC, MASK_PRIOR, generate_masks
from tasks.synthesis.vq_transformer.outline import augmented
from tasks.training.loop import run_training

SIZE = 128


def shape(number: int) -> Mask:
    """A blotch, a bar or a ring, from noise."""
    generator = np.random.default_rng(number)
    rows, columns = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    angle = generator.uniform(0, np.pi)
    along = rows * np.cos(angle) + columns * np.sin(angle)
    across = columns * np.cos(angle) - rows * np.sin(angle)
    wobble = 1 + 0.4 * ndimage.gaussian_filter(generator.standard_normal((SIZE, SIZE)), 8, mode="wrap") * 20
    radius = np.hypot(along / generator.uniform(8, 40), across / generator.uniform(8, 20)) / wobble
    return (radius < 1) & (radius > (0.5 if number % 3 == 2 else -1))


def outlines(count: int, seed: int) -> torch.Tensor:
    generator = np.random.default_rng(seed)
    made = [augmented(shape(seed + number), 64, generator).mask for number in range(count)]
    return torch.from_numpy(np.stack(made)).unsqueeze(1)


def test_masks_survive_their_tokens() -> None:
    torch.manual_seed(0)
    params = MaskCodecParams(steps=250)
    codec = MaskCodec(params)
    training = MaskCodecTraining(codec, outlines(150, 0).byte(), params, seed=0)
    run_training(training)
    training.finish()
    unseen = outlines(40, 1000).squeeze(1)
    ids = codec.encode(unseen.unsqueeze(1).float())
    back = codec.decode(ids)
    overlaps = (back & unseen).sum(dim=(1, 2)) / (back | unseen).sum(dim=(1, 2))
    assert ids.shape == (40, 16, 16)
    assert overlaps.mean() > 0.95
    assert len(ids.unique()) > params.codebook_size / 2


def defect(number: int, split: str, kind: str) -> InputImage:
    mask = shape(number)
    image = np.where(mask, 60, 150).astype(np.uint8)[..., None].repeat(3, axis=2)
    name = f"plate/{kind}/{number}"
    whole = np.ones((SIZE, SIZE), bool)
    return InputImage(name, "plate", kind, split, name, image, mask, whole, name, name, "made", "Apache-2.0")


@pytest.fixture(scope="module")
def inputs() -> Inputs:
    train = [defect(number, TRAIN, ("blotch", "bar")[number % 2]) for number in range(8)]
    clean = replace(defect(8, TRAIN, CLEAN), mask=None)
    return Inputs((*train, clean, defect(9, TEST, "unseen")), (), "inputs")


def params() -> Params:
    tiny = {"window": 8, "width": 32, "layers": 1, "heads": 2, "steps": 60, "batch_size": 8, "pool_size": 60}
    return Params.model_validate(
        {
            "dataset": {"name": "plates", "image_size": SIZE},
            "inputs": {"sources": [{"kind": "elpv"}]},
            "masks": {"learned_per_type": 5, "max_area": 0.3},
            "vq_transformer": {
                "mask_codec": {"steps": 60, "checkpoint_every": 10},
                "mask_prior": {**tiny, "learning_rate": 1e-2, "ema_decay": 0.9, "checkpoint_every": 10},
            },
        }
    )


@pytest.fixture(scope="module")
def drawn(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ReferenceMask]]:
    workdir = tmp_path_factory.mktemp("models")
    return workdir, generate_masks(inputs, params(), workdir, HOST, silent)


def test_masks_are_drawn_for_each_type_of_the_train_split(drawn: tuple[Path, list[ReferenceMask]]) -> None:
    names = [mask.reference_id for mask in drawn[1]]
    for kind in ("blotch", "bar"):
        alike = [name for name in names if f"/{kind}/" in name]
        assert alike == [f"learned/vq_transformer/plate/{kind}/{number:04d}" for number in range(len(alike))]
        assert 1 <= len(alike) <= 5  # one that is hardly trained draws many that are refused
    assert not any("unseen" in name for name in names)
    assert all(mask.learned and not mask.pseudo for mask in drawn[1])


def test_what_is_drawn_are_whole_new_masks(drawn: tuple[Path, list[ReferenceMask]], inputs: Inputs) -> None:
    real = {image.mask.tobytes() for image in inputs.images if image.mask is not None}
    made = {item.mask.tobytes() for item in drawn[1]}
    assert len(made) == len(drawn[1])
    assert not made & real
    for item in drawn[1]:
        assert item.mask.shape == (SIZE, SIZE)
        assert params().masks.min_area <= item.mask.mean() <= params().masks.max_area


def test_drawing_again_trains_nothing_and_gives_the_same(
    drawn: tuple[Path, list[ReferenceMask]], inputs: Inputs
) -> None:
    said: list[str] = []
    again = generate_masks(inputs, params(), drawn[0], HOST, lambda what, done, steps: said.append(what))
    assert set(said) == {"drawing masks"}
    assert [item.mask.tobytes() for item in again] == [item.mask.tobytes() for item in drawn[1]]


@pytest.mark.parametrize("what", ["training the codec of masks", "training the prior of masks"])
def test_training_survives_a_kill(
    what: str, drawn: tuple[Path, list[ReferenceMask]], inputs: Inputs, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    def die(said: str, done: int, steps: int) -> None:
        if (said, done) == (what, 25):
            raise Killed

    with pytest.raises(Killed):
        generate_masks(inputs, params(), tmp_path, HOST, die)
    generate_masks(inputs, params(), tmp_path, HOST, silent)
    for name in (MASK_CODEC, MASK_PRIOR):
        assert file_sha256(tmp_path / name) == file_sha256(drawn[0] / name)


def test_without_masks_there_is_nothing_to_learn_from(inputs: Inputs, tmp_path: Path) -> None:
    cleans = Inputs(tuple(image for image in inputs.images if image.defect_type == CLEAN), (), "cleans")
    assert generate_masks(cleans, params(), tmp_path, HOST, silent) == []
