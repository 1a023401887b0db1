"""Parts of Stable-Diffusion-type pipelines by folder or hub name, through diffusers and transformers.

Only safetensors weights are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from tasks.contracts import CLEAN, DefectoryError, Place
from tasks.networks.device import device_of


def load_part(kind: Any, path: str, part: str, key: str) -> Any:
    """`kind` from the pipeline's subfolder `part`; `key` is the one in params that an error names."""
    with _named(path, part, key):
        if kind is CLIPTokenizer:
            return CLIPTokenizer.from_pretrained(path, subfolder=part)
        return kind.from_pretrained(path, subfolder=part, use_safetensors=True)


def load_part_config(kind: Any, path: str, part: str, key: str) -> dict[str, Any]:
    """The configuration of such a part, without its weights."""
    with _named(path, part, key):
        return dict(kind.load_config(path, subfolder=part))


@contextmanager
def _named(path: str, part: str, key: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise DefectoryError(
            f"{key} {path!r}: its {part} could not be loaded ({str(error).splitlines()[0]}); give a "
            "Stable-Diffusion-type pipeline folder with safetensors weights, or a hub name this machine can reach"
        ) from None


class PretrainedText(nn.Module):
    """A pipeline's tokenizer and text encoder, frozen."""

    def __init__(self, path: str, key: str) -> None:
        super().__init__()
        self._tokenizer = load_part(CLIPTokenizer, path, "tokenizer", key)
        self.encoder = load_part(CLIPTextModel, path, "text_encoder", key).requires_grad_(False).eval()

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> Tensor:
        """(prompts, tokens, width), every prompt padded or cut to the encoder's length."""
        ids = torch.tensor([self._ids(prompt) for prompt in prompts])
        embedded: Tensor = self.encoder(ids.to(device_of(self.encoder))).last_hidden_state
        return embedded

    def place_of(self, prompt: str, word: str) -> list[int]:
        """The tokens of `prompt` that stand for `word`, at its first place there; empty where it is not in it."""
        ids = self._ids(prompt)
        wanted = self._tokenizer(word, add_special_tokens=False).input_ids
        for start in range(len(ids) - len(wanted) + 1):
            if wanted and ids[start : start + len(wanted)] == wanted:
                return list(range(start, start + len(wanted)))
        return []

    def _ids(self, prompt: str) -> list[int]:
        length = self._tokenizer.model_max_length
        return list(self._tokenizer(prompt, padding="max_length", max_length=length, truncation=True).input_ids)


def prompt_of(template: str, category: str, defect_type: str) -> str:
    """The prompt of a label; a clean one is the plain name of the category. Underscores are spaces."""
    text = f"a {category}" if defect_type == CLEAN else template.format(category=category, defect_type=defect_type)
    return text.replace("_", " ")


def prompts_of(template: str, places: Sequence[Place]) -> list[str]:
    """The prompt of each place's label."""
    return [prompt_of(template, place.spec.category, place.spec.defect_type) for place in places]
