"""Online decoder adaptation: make the decoder reproduce the clean surroundings and keep the painted defect.

AdaBLDM (arXiv 2402.19330, algorithm 2) minimises, for one image x with latents z and mask M,
    mean |M (D'(z) - D(z))|^2 + lambda * mean |(1 - M) (D'(z) - x)|^2
over all of the decoder D' with 200 gradient steps. `adapt_published` does that. `adapt_closed_form` minimises
the same objective over the decoder's last convolution alone, given some freedom to differ from place to place. That
is a weighted linear least-squares problem with one exact solution: no steps, no learning rate, a fraction of the cost.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.diffusion.codec import Codec, decode_plain
from tasks.networks.device import HOST, lower_precision
from tasks.params import AdaptParams

SEEN = 16
"""Pixels beyond the feather that somebody looks at: real patches, whose windows reach over it, and a view's margin."""


def adapt_decoder(codec: Codec, latents: Tensor, cleans: Tensor, masks: Tensor, params: AdaptParams) -> Tensor:
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
    """The published objective, minimised exactly over the last convolution in each of many overlapping windows.

    A window's weight falls linearly from its centre to 0 at its neighbours' centres, so that the windows' corrections
    add up to one without a seam. The target is the clean image outside the mask and the plain result inside it.

    Only around the mask, as far as the result is pasted or looked at: beyond, it is the plain one.
    """
    layer = codec.last_layer
    assert isinstance(layer.padding, tuple)
    with lower_precision(latents.device):
        hidden = codec.hidden(latents).float()
    plain = layer(hidden)
    height, width = plain.shape[2:]
    patches = functional.unfold(hidden, layer.kernel_size, padding=layer.padding)[0].unflatten(1, (height, width))
    patches = torch.cat([patches, torch.ones_like(patches[:1])])
    factor = cleans.shape[-1] // width
    inside = functional.max_pool2d(masks, factor)[0]
    residual = (codec.to_last(cleans) - plain)[0] * (1 - inside)
    weights = inside + params.outside_weight * (1 - inside)
    reach = -(-(params.feather + SEEN) // factor)
    near = functional.max_pool2d(inside, 2 * reach + 1, stride=1, padding=reach)[0].bool().cpu()
    correction, outside = torch.zeros_like(residual), (inside[0] == 0).cpu()
    for rows, columns, hat in overlapping_windows(height, width, params.window // factor, latents.device):
        # Asked on the host, so that no window waits for the one before.
        if near[rows, columns].any() and outside[rows, columns].any():
            inputs = patches[:, rows, columns].flatten(1).T
            weight = (weights[0, rows, columns] * hat).reshape(-1, 1)
            change = ridge_regression(inputs, residual[:, rows, columns].flatten(1).T, weight, params.ridge)
            correction[:, rows, columns] += hat * (inputs @ change).T.unflatten(1, hat.shape)
    return codec.from_last(plain + correction)


def overlapping_windows(
    height: int, width: int, pitch: int, device: torch.device = HOST
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Rows, columns and weights of windows with centres `pitch` apart; the weights of all add up to 1 everywhere."""
    for top in range(0, height + pitch, pitch):
        for left in range(0, width + pitch, pitch):
            rows, columns = (slice(max(0, at - pitch + 1), at + pitch) for at in (top, left))
            down = torch.arange(height, device=device)[rows]
            right = torch.arange(width, device=device)[columns]
            if len(down) and len(right):
                yield rows, columns, torch.outer(1 - (down - top).abs() / pitch, 1 - (right - left).abs() / pitch)


def ridge_regression(inputs: Tensor, targets: Tensor, weight: Tensor, ridge: float) -> Tensor:
    """The X (features, outputs) that minimises sum of weight |inputs X - targets|^2 + ridge * (mean energy) |X|^2.

    `inputs` (positions, features), `targets` (positions, outputs), `weight` (positions, 1); for the objective of
    `adaptation_loss` X is the change of the convolution's kernel and bias, and X = 0 leaves everything as it was.
    """
    weighted = inputs * weight
    normal = weighted.T @ inputs
    normal.diagonal().add_(ridge * normal.diagonal().mean())
    # Not `solve`, which waits for the device to say that all went well: with its ridge the matrix is never singular.
    return torch.linalg.solve_ex(normal, weighted.T @ targets).result
