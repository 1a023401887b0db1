"""The generator of masks: what its codec keeps, and that what it draws are masks, new ones, of the train split's kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from tasks.contracts import CLEAN, TEST, TRAIN, InputImage, Mask, ReferenceMask
from tasks.inputs.store import Inputs
from tasks.params import Params
from tasks.products import file_sha256
from tasks.system_params import MaskCodecParams
from tasks.tokens import training_loop
from tasks.tokens.mask_codec import MaskCodec, MaskCodecTraining
from tasks.tokens.mask_prior import MASK_CODEC, MASK_PRIOR, generate_masks
from tasks.tokens.outline import augmented
from tests.interruptible import Killed, killing_at

SIZE = 128


def shape(number: int) -> Mask:
    """A blotch, a bar or a ring, from noise."""
    generator = np.random.default_rng(number)
    rows, columns = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    angle = generator.uniform(0, np.pi)
    along, across = (rows * np.cos(angle) + columns * np.sin(angle), columns * np.cos(angle) - rows * np.sin(angle))
    wobble = 1 + 0.4 * ndimage.gaussian_filter(generator.standard_normal((SIZE, SIZE)), 8, mode="wrap") * 20
    radius = np.hypot(along / generator.uniform(8, 40), across / generator.uniform(8, 20)) / wobble
    return (radius < 1) & (radius > (0.5 if number % 3 == 2 else -1))


def silent(what: str, done: int, steps: int) -> None:
    pass


def outlines(count: int, seed: int) -> torch.Tensor:
    generator = np.random.default_rng(seed)
    made = [augmented(shape(seed + number), 64, generator).mask for number in range(count)]
    return torch.from_numpy(np.stack(made)).unsqueeze(1)


def test_masks_survive_their_tokens(tmp_path: Path) -> None:
    torch.manual_seed(0)
    params = MaskCodecParams()
    codec = MaskCodec(params)
    training = MaskCodecTraining(codec, outlines(300, 0).byte(), params, seed=0)
    training_loop.train(training, params.steps, 10**6, tmp_path / "none", "made")
    unseen = outlines(40, 1000).squeeze(1)
    ids = codec.encode(unseen.unsqueeze(1).float())
    back = codec.decode(ids)
    overlaps = (back & unseen).sum(dim=(1, 2)) / (back | unseen).sum(dim=(1, 2))
    assert ids.shape == (40, 16, 16)
    assert overlaps.mean() > 0.95
    assert len(ids.unique()) > params.codebook_size / 2
