"""A small text encoder for the embedded backbone: a vector a word and a vector a position, trained with the U-Net.

Its vocabulary is that of the dataset's own prompts. A word that is not in it is passed over, so a long description is
read for the words that the training images gave a meaning to.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tasks.networks.device import moved

WIDTH = 64
_PADDING, _START = 0, 1
_LEAST_TOKENS = 8


def words_of(prompt: str) -> list[str]:
    """Lower-case words and numbers; `broken_large` is two words."""
    return re.findall(r"[a-z0-9]+", prompt.lower())


class WordEncoder(nn.Module):
    """Prompts to tokens (prompts, tokens, width)."""

    def __init__(self, prompts: Sequence[str], width: int = WIDTH) -> None:
        super().__init__()
        vocabulary = sorted({word for prompt in prompts for word in words_of(prompt)})
        self.index = {word: number + 2 for number, word in enumerate(vocabulary)}
        self.width = width
        self.length = max([_LEAST_TOKENS, *(len(words_of(prompt)) + 1 for prompt in prompts)])
        self.word = nn.Embedding(len(vocabulary) + 2, width)
        self.position = nn.Embedding(self.length, width)

    def known(self, prompt: str) -> list[str]:
        """The prompt's words that are in the vocabulary, as many as there are tokens for."""
        return [word for word in words_of(prompt) if word in self.index][: self.length - 1]

    def forward(self, prompts: Sequence[str]) -> Tensor:
        rows = torch.tensor([self._ids(prompt) for prompt in prompts], dtype=torch.long).view(len(prompts), self.length)
        return self.word(moved(rows, self.word.weight.device)) + self.position.weight

    def _ids(self, prompt: str) -> list[int]:
        ids = [_START, *(self.index[word] for word in self.known(prompt))]
        return ids + [_PADDING] * (self.length - len(ids))

    def place_of(self, prompt: str, word: str) -> list[int]:
        """The tokens that stand for the words of `word`, where they are known and in the prompt."""
        wanted = set(words_of(word))
        return [number + 1 for number, known in enumerate(self.known(prompt)) if known in wanted]
