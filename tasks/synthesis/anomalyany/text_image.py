"""How well an image fits a text: unit vectors of both in one space, with gradients to the image.

Two kinds behind one class. The pretrained one is CLIP (Radford et al. 2021), by path or hub name. The embedded one is
what CLIP is, made small: frozen AlexNet features and a bag of words, each with one linear layer, trained by
contrasting the dataset's own labels; it knows the words of this dataset and no others.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPModel, CLIPProcessor

from tasks.contracts import DefectoryError
from tasks.diffusion.text_backbone import WordEncoder
from tasks.networks.lpips import shared_lpips

_WIDTH = 64
_FEATURES = 2 * (64 + 192 + 384 + 256 + 256)


class TextImage(nn.Module, ABC):
    """A space in which images and texts that belong together have a large cosine."""

    @abstractmethod
    def of_images(self, images: Tensor) -> Tensor:
        """(n, 3, height, width) in [-1, 1] to unit vectors (n, width); differentiable."""

    @abstractmethod
    def of_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (texts, width)."""


class EmbeddedTextImage(TextImage):
    """Its vocabulary is that of the texts it is made with."""

    mean: Tensor
    std: Tensor

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__()
        self.words = WordEncoder(texts)
        self.from_words = nn.Linear(self.words.width, _WIDTH)
        self.from_features = nn.Linear(_FEATURES, _WIDTH)
        self.register_buffer("mean", torch.zeros(_FEATURES))
        self.register_buffer("std", torch.ones(_FEATURES))

    def of_images(self, images: Tensor) -> Tensor:
        return self.of_features(pooled_features(images))

    def of_features(self, features: Tensor) -> Tensor:
        """The same from what `pooled_features` gave."""
        return functional.normalize(self.from_features((features - self.mean) / self.std), dim=-1)

    def of_texts(self, texts: Sequence[str]) -> Tensor:
        return functional.normalize(self.from_words(self.words(texts).mean(dim=1)), dim=-1)

    def measure(self, features: Tensor) -> None:
        """Take the scale of features (n, features) for that of all that come."""
        self.mean.copy_(features.mean(dim=0))
        self.std.copy_(features.std(dim=0).clamp_min(1e-6))


def pooled_features(images: Tensor) -> Tensor:
    """(n, 2304) of (n, 3, height, width) in [-1, 1]: every AlexNet map's mean, and its maximum, which a small defect
    moves."""
    maps = shared_lpips(device=images.device).features(images)
    return torch.cat([pooled for m in maps for pooled in (m.mean(dim=(2, 3)), m.amax(dim=(2, 3)))], dim=1).float()


class PretrainedTextImage(TextImage):
    """CLIP, frozen, with its own tokenizer and image statistics."""

    mean: Tensor
    std: Tensor

    def __init__(self, path: str) -> None:
        super().__init__()
        try:
            self.clip = CLIPModel.from_pretrained(path, use_safetensors=True).requires_grad_(False).eval()
            processor = CLIPProcessor.from_pretrained(path)
        except (OSError, ValueError) as error:
            raise DefectoryError(
                f"anomalyany.text_image_path {path!r}: no CLIP model could be loaded from it "
                f"({str(error).splitlines()[0]}); give a folder with config.json, safetensors weights, tokenizer and "
                "preprocessor, or a hub name this machine can reach"
            ) from None
        self._tokenizer = processor.tokenizer
        self.register_buffer("mean", torch.tensor(processor.image_processor.image_mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(processor.image_processor.image_std).view(1, 3, 1, 1))

    def of_images(self, images: Tensor) -> Tensor:
        side = self.clip.config.vision_config.image_size
        fitted = functional.interpolate(images, size=(side, side), mode="bicubic", antialias=True)
        pixels = ((fitted + 1) / 2 - self.mean) / self.std
        return functional.normalize(self.clip.get_image_features(pixel_values=pixels).pooler_output, dim=-1)

    @torch.no_grad()
    def of_texts(self, texts: Sequence[str]) -> Tensor:
        tokens = self._tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        return functional.normalize(self.clip.get_text_features(**tokens.to(self.mean.device)).pooler_output, dim=-1)
