"""Tiny models of the real classes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tasks.diffusion.codec import EmbeddedCodec
from tasks.diffusion.denoiser import Denoiser
from tasks.params import DenoiserParams
from tasks.synthesis.adabldm.denoiser import build_embedded
from tasks.synthesis.adabldm.sampler import EditRequest


@pytest.fixture(scope="session")
def tiny_denoiser_params() -> DenoiserParams:
    return DenoiserParams(channels=[32, 32, 64], steps=6, batch_size=4, pool_size=8, checkpoint_every=2)


@pytest.fixture(scope="session")
def random_codec() -> EmbeddedCodec:
    torch.manual_seed(0)
    codec = EmbeddedCodec().requires_grad_(False).eval()
    codec.normalise_latents([torch.rand(4, 3, 64, 64) * 2 - 1])
    return codec


@pytest.fixture
def random_denoiser(tiny_denoiser_params: DenoiserParams) -> Denoiser:
    denoiser = build_embedded(tiny_denoiser_params, 8, 4, seed=1)
    # diffusers' last convolution is an ordinary one, but a random net is too tame to tell labels apart: make it louder.
    nn.init.normal_(denoiser.unet.conv_out.weight, std=0.3, generator=torch.Generator().manual_seed(2))
    return denoiser.eval()


@pytest.fixture
def make_edit() -> Callable[..., EditRequest]:
    def make(count: int = 3, empty: bool = False, strength: float = 3.0) -> EditRequest:
        generator = torch.Generator().manual_seed(5)
        masks = torch.zeros(count, 1, 64, 64)
        if not empty:
            masks[:, :, 20:36, 24:44] = 1
        cleans: Tensor = torch.rand(count, 3, 64, 64, generator=generator) * 2 - 1
        return EditRequest(
            cleans=cleans,
            masks=masks,
            trimaps=masks.clamp_min(0.5),
            defect_labels=torch.ones(count, dtype=torch.long),
            clean_labels=torch.zeros(count, dtype=torch.long),
            strengths=torch.full((count,), strength),
            noise=torch.randn(count, 8, 8, 8, generator=generator),
        )

    return make
