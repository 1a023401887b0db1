"""Online decoder adaptation: make the decoder reproduce the clean surroundings and keep the painted defect.

AdaBLDM (arXiv 2402.19330, algorithm 2) minimises, for one image x with latents z and mask M,
    mean |M (D'(z) - D(z))|^2 + lambda * mean |(1 - M) (D'(z) - x)|^2
over all of the decoder D' with 200 gradient steps. `adapt_published` does that. `adapt_closed_form` minimises
the same objective over the decoder's last convolution alone, where it is a weighted linear least-squares
problem with one exact solution: no steps, no learning rate, a small fraction of the cost.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.diffusion.codec import Codec
from tasks.params import AdaptParams


@torch.no_grad()
def decode_plain(codec: Codec, latents: Tensor) -> Tensor:
    """D(z), float32 (n, 3, height, width)."""
    with torch.autocast(latents.device.type, torch.bfloat16):
        return codec.decode(latents).float()


def adapt(codec: Codec, latents: Tensor, cleans: Tensor, masks: Tensor, params: AdaptParams) -> Tensor:
    """Images D'(z), float32 (n, 3, height, width) in about [-1, 1], by the variant that params name.

    `latents` (n, channels, h, w); `cleans` (n, 3, height, width) in [-1, 1]; `masks` (n, 1, height, width) of 0
    and 1. Each image is adapted by itself, so its result does not depend on its companions. The codec's
    weights are as before when this returns or raises.
    """
    if params.kind == "none":
        return decode_plain(codec, latents)
    one = adapt_published if params.kind == "published" else adapt_closed_form
    parts = zip(latents.split(1), cleans.split(1), masks.split(1), strict=True)
    return torch.cat([one(codec, *part, params) for part in parts])


def adaptation_loss(decoded: Tensor, plain: Tensor, cleans: Tensor, masks: Tensor, outside_weight: float) -> Tensor:
    """The published objective, a scalar."""
    inside = (masks * (decoded - plain)).square().mean()
    outside = ((1 - masks) * (decoded - cleans)).square().mean()
    return inside + outside_weight * outside


@contextmanager
def restored(module: nn.Module) -> Iterator[None]:
    """Give the module its parameters back, bit for bit, however the block ends."""
    before = copy.deepcopy(module.state_dict())
    try:
        yield
    finally:
        module.load_state_dict(before)
        module.requires_grad_(False)


def adapt_published(codec: Codec, latents: Tensor, cleans: Tensor, masks: Tensor, params: AdaptParams) -> Tensor:
    """AdaBLDM's algorithm 2: AdamW on the full decoder, in full precision as published."""
    with torch.no_grad():
        plain = codec.decode(latents)
    with restored(codec.decoder):
        codec.decoder.requires_grad_(True)
        optimizer = torch.optim.AdamW(codec.decoder.parameters(), lr=params.learning_rate)
        for _ in range(params.steps):
            loss = adaptation_loss(codec.decode(latents), plain, cleans, masks, params.outside_weight)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            return codec.decode(latents)


@torch.no_grad()
def adapt_closed_form(codec: Codec, latents: Tensor, cleans: Tensor, masks: Tensor, params: AdaptParams) -> Tensor:
    """The published objective, minimised exactly over the last convolution (ridge regression towards its weights).

    With A the matrix of the convolution's input patches, one row a position, and a weight w of 1 inside the
    mask and lambda outside, the change X of kernel and bias solves
        (A' w A + ridge * trace / size * I) X = A' w (target - A W),
    where the target is the clean image outside and the plain result inside, so that X = 0 would change nothing there.
    """
    layer = codec.last_layer
    with torch.autocast(latents.device.type, torch.bfloat16):
        hidden = codec.hidden(latents).float()
    assert isinstance(layer.padding, tuple)
    patches = functional.unfold(hidden, layer.kernel_size, padding=layer.padding)[0].T
    patches = torch.cat([patches, patches.new_ones(len(patches), 1)], dim=1)
    plain = layer(hidden)
    factor = cleans.shape[-1] // plain.shape[-1]
    inside = functional.max_pool2d(masks, factor).flatten(1).T
    residual = ((codec.to_last(cleans) - plain) * (1 - inside.T.view(1, 1, *plain.shape[2:]))).flatten(2)[0].T
    weighted = patches * (inside + params.outside_weight * (1 - inside))
    normal = weighted.T @ patches
    normal.diagonal().add_(params.ridge * normal.diagonal().mean())
    change = torch.linalg.solve(normal, weighted.T @ residual)
    adapted = plain + (patches @ change).T.reshape(plain.shape)
    return codec.from_last(adapted)
