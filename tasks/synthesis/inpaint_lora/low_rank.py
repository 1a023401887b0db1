"""Low-rank adapters and learned tokens on a frozen text backbone (LoRA, Hu et al., ICLR 2022; peft).

In: a fitted backbone and the labels of a dataset. Out: the same backbone, whose weights stay bit for bit, with two
small things to train: W + B A of low rank beside the weights of its U-Net, and one token [V*] for each label, put
behind the label's prompt. One set of adapters serves all defect types; the token tells them apart (DefectFill trains a
set for each type, which costs a training each and leaves a few images to each).

The prompt is disturbed by Gaussian noise in training and in painting (MAGIC, arXiv 2507.02314): a model that has seen
five images of a type else gives the same defect for every seed. Noise is measured in the tokens' standard deviations.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from peft import LoraConfig
from torch import Tensor, nn

from tasks.contracts import CLEAN
from tasks.diffusion.denoiser import LabelTable
from tasks.diffusion.text_backbone import Hole, TextBackbone

ADAPTER = "defects"
_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
_CONVOLUTION = ("conv1", "conv2")


class LowRankBackbone(nn.Module):
    """`predict(noisy, timesteps, labels, hole, disturbance)`; only adapters and learned tokens require a gradient."""

    prompts: Tensor
    """(labels + 1, tokens, width) of the backbone's own text encoder, the last one of the empty text."""

    def __init__(self, backbone: TextBackbone, table: LabelTable, rank: int, convolutions: bool, seed: int) -> None:
        """Without training it predicts what the backbone does with one more token; `backbone` is adapted in place.

        `convolutions`: adapt those of the residual blocks, too, for a U-Net that has little attention.
        """
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        with torch.no_grad():
            self.register_buffer("prompts", backbone.tokens_of(backbone.prompts).clone())
        self.empty_label = len(table)
        self.learned = nn.Parameter(first_tokens(backbone, table, self.prompts))
        targets = [*_ATTENTION, *(_CONVOLUTION if convolutions else ())]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone.unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=targets), ADAPTER)

    @property
    def disturbance_shape(self) -> tuple[int, int]:
        """(tokens, width) of one prompt with its learned token."""
        return self.prompts.shape[1] + 1, self.prompts.shape[2]

    def tokens(self, labels: Tensor, disturbance: Tensor) -> Tensor:
        """(n, tokens + 1, width): prompt and [V*] of each label (n,), disturbed; [V*] is the last one."""
        learned = torch.cat([self.learned, self.prompts[-1:, -1]])  # behind the empty text stands its own last token
        told = torch.cat([self.prompts[labels], learned[labels].unsqueeze(1)], dim=1)
        return told + self.prompts.std() * disturbance

    def predict(
        self, noisy: Tensor, timesteps: Tensor, labels: Tensor, hole: Hole | None, disturbance: Tensor
    ) -> Tensor:
        """The backbone's prediction for latents (n, channels, h, w); `disturbance` (n, tokens + 1, width)."""
        return self.backbone.predict(noisy, timesteps, self.tokens(labels, disturbance), hole)

    def trained_state(self) -> dict[str, Tensor]:
        """Adapters and tokens: what is worth a file."""
        return {name: tensor for name, tensor in self.state_dict().items() if name == "learned" or "lora_" in name}

    @contextmanager
    def without_adapters(self) -> Iterator[None]:
        """The backbone as it was, while the block lasts."""
        self.backbone.unet.disable_adapters()
        try:
            yield
        finally:
            self.backbone.unet.enable_adapters()

    def fuse(self) -> None:
        """Add the adapters to the weights, for good: painting is a third faster, training is over."""
        self.backbone.unet.fuse_lora()
        self.requires_grad_(False).eval()

    def unload(self) -> TextBackbone:
        """Take the adapters out; the backbone is the one that was given, bit for bit."""
        self.backbone.unet.unload_lora()
        return self.backbone


def first_tokens(backbone: TextBackbone, table: LabelTable, prompts: Tensor) -> Tensor:
    """(labels, width): where [V*] begins, the mean of the tokens that name its type (for the clean label, the object).

    A name that the prompt does not hold, or that was cut off, begins at the mean of the prompt.
    """
    rows = []
    for (category, defect_type), prompt, tokens in zip(table.pairs, backbone.prompts, prompts, strict=False):
        name = category if defect_type == CLEAN else defect_type
        places = backbone.place_of(prompt, name.replace("_", " "))
        rows.append(tokens[places].mean(dim=0) if places else tokens.mean(dim=0))
    return torch.stack(rows)
