"""AnomalyAny's attention-guided optimisation (arXiv 2406.01078): latents moved until a place attends to a word.

In: the cross-attention maps of a text backbone, which tokens are words and which of these name the anomaly. Out: the
anomaly's map A^j, the loss L_att = 1 - max(A^j m), the location-aware step alpha_t, and a pixel label from A^j.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.functional import gaussian_blur

from tasks.contracts import DefectoryError, Mask
from tasks.diffusion.text_backbone import TextBackbone
from tasks.networks.device import device_of, moved

_BLUR_SIZE, _BLUR_SIGMA = 3, 0.5
_BACK = 0.1
"""What is left of a step's size after one that made things worse."""
_MEDIAN_SIZE = 5


@dataclass(frozen=True)
class Words:
    """Tokens of n prompts, (n, tokens) of bool: those that are words, and among them those that name the anomaly."""

    spoken: Tensor
    anomaly: Tensor


def words_in(backbone: TextBackbone, prompts: list[str], anomalies: list[str]) -> Words:
    """Where the prompts' words and the names of their anomalies are.

    Raises DefectoryError for a name that the backbone cannot read in its prompt.
    """
    tokens = backbone.tokens_of(prompts).shape[1]
    spoken, anomaly = torch.zeros(2, len(prompts), tokens, dtype=torch.bool)
    for row, (prompt, name) in enumerate(zip(prompts, anomalies, strict=True)):
        spoken[row, backbone.place_of(prompt, prompt)] = True
        place = backbone.place_of(prompt, name)
        if not place:
            raise DefectoryError(
                f"the text backbone does not know {name!r} in its prompt {prompt!r}: the embedded one knows the words "
                "of the defects it was trained on; add images of such a defect, set backbone.kind to pretrained, or "
                "put {defect_type} into backbone.prompt"
            )
        anomaly[row, place] = True
    return moved(Words(spoken | anomaly, anomaly), device_of(backbone))


def anomaly_map(maps: Tensor, words: Words, sharpness: float) -> Tensor:
    """A^j, (n, side, side) in [0, 1]: of attention maps (n, tokens, side, side), times `sharpness` and shared out anew
    by a softmax over the words alone, the share of those that name the anomaly; smoothed."""
    logits = (sharpness * maps.float()).masked_fill(~words.spoken[..., None, None], -torch.inf)
    named = (logits.softmax(dim=1) * words.anomaly[..., None, None]).sum(dim=1)
    return gaussian_blur(named, [_BLUR_SIZE, _BLUR_SIZE], [_BLUR_SIGMA, _BLUR_SIGMA])


def attention_loss(map_: Tensor, masks: Tensor) -> Tensor:
    """L_att = 1 - max(A^j m), (n,), for maps (n, side, side) and masks (n, 1, height, width) of 0 and 1."""
    side = map_.shape[-1]
    return 1 - (map_ * functional.adaptive_max_pool2d(masks, side)[:, 0]).amax(dim=(1, 2))


def focus_of(map_: Tensor) -> Tensor:
    """n_t, (n,): how many places attend more than the mean does; few, once the anomaly has found its place."""
    return (map_ > map_.mean(dim=(1, 2), keepdim=True)).sum(dim=(1, 2)).float()


def step_size(rate: float, growth: float, time: Tensor, focus: Tensor, first_focus: Tensor) -> Tensor:
    """alpha_t = lambda (1 + Delta t) n_t / n_start, (n,), for times t in [0, 1] that fall to 0 along the chain."""
    return rate * (1 + growth * time) * focus / first_focus.clamp_min(1)


def descend(
    latents: Tensor, loss_of: Callable[[Tensor], Tensor], rate: Tensor, updates: int, normalised: bool = False
) -> Tensor:
    """`updates` gradient steps down a loss that is given for each of n latents, or of n prompts.

    `rate` broadcasts to the latents: the step size, times the mask that may be changed; `normalised`: of gradients
    whose root mean square is 1. A step that does not lower its own image's loss is taken back and tried smaller, so
    that no image is ever worse off.
    """
    kept = latents
    lowest, gradient = _loss_and_gradient(kept, loss_of)
    for _ in range(updates):
        tried = kept - rate * (_normalised(gradient) if normalised else gradient)
        loss, slope = _loss_and_gradient(tried, loss_of)
        lower = (loss < lowest).view(-1, *[1] * (latents.dim() - 1))
        kept, gradient = torch.where(lower, tried, kept), torch.where(lower, slope, gradient)
        rate, lowest = torch.where(lower, rate, _BACK * rate), torch.minimum(loss, lowest)
    return kept


def _normalised(gradient: Tensor) -> Tensor:
    size = gradient.flatten(1).square().mean(dim=1).sqrt().clamp_min(1e-20)
    return gradient / size.view(-1, *[1] * (gradient.dim() - 1))


def _loss_and_gradient(latents: Tensor, loss_of: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        point = latents.detach().requires_grad_()
        loss = loss_of(point)
        (gradient,) = torch.autograd.grad(loss.sum(), point)
    return loss.detach(), gradient


def attention_label(map_: Tensor, size: tuple[int, int], threshold: float = 0.5) -> list[Mask]:
    """The annotation AnomalyAny gives where nobody drew a mask: A^j (n, side, side) brought to (height, width),
    stretched to [0, 1], cut at `threshold`, and rid of specks by a median."""
    large = functional.interpolate(map_.unsqueeze(1), size=size, mode="bilinear", align_corners=False)[:, 0]
    low, high = large.amin(dim=(1, 2), keepdim=True), large.amax(dim=(1, 2), keepdim=True)
    labels = (large - low) > threshold * (high - low)
    return [ndimage.median_filter(label, size=_MEDIAN_SIZE) for label in labels.cpu().numpy()]
