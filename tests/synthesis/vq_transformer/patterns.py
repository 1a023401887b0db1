"""A language small enough to be learned in seconds: diagonal stripes of tokens, from any phase."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from tasks.params.systems import TokenPriorParams
from tasks.synthesis.vq_transformer.grids import Grids
from tasks.synthesis.vq_transformer.prior import Prior
from tasks.synthesis.vq_transformer.prior_training import PriorTrainer
from tasks.training.loop import run_training

CODES = 6
STRIPES, SPECKS = 0, 1
"""Labels: stripes, and stripes with the last code wherever the mask is."""
SPECK = CODES - 1
WINDOW = 8


def stripes(height: int, width: int, phase: int) -> Tensor:
    """(height, width): every token is its left and its upper neighbour's successor, of five in a circle."""
    return (torch.arange(height)[:, None] + torch.arange(width) + phase) % (CODES - 1)


def grids(size: int = 12) -> Grids:
    ids, covers, labels = [], [], []
    for number in range(60):
        cover = torch.zeros((size, size), dtype=torch.long)
        top, left = (number * 5) % (size - 4), (number * 7) % (size - 4)
        cover[top : top + 3, left : left + 4] = 2
        grid = stripes(size, size, number % 5)
        labels.append(number // 5 % 2)
        ids.append(torch.where(cover > 0, SPECK, grid) if labels[-1] == SPECKS else grid)
        covers.append(cover)
    return Grids(torch.stack(ids), torch.stack(covers), torch.tensor(labels), torch.arange(60) % 3 == 0)


def tiny_params(**values: object) -> TokenPriorParams:
    tiny = {"window": WINDOW, "width": 48, "layers": 2, "heads": 4, "dropout": 0.0, "token_noise": 0.05}
    training = {"steps": 80, "batch_size": 16, "learning_rate": 5e-3, "ema_decay": 0.9, "inside_weight": 3.0}
    return TokenPriorParams.model_validate({**tiny, **training, **values})


@cache
def trained_prior() -> Prior:
    torch.manual_seed(0)
    prior = Prior(CODES, 2, 1, WINDOW, tiny_params())
    trainer = PriorTrainer(prior, grids(), tiny_params(), seed=0)
    run_training(trainer)
    trainer.finish()
    return prior
