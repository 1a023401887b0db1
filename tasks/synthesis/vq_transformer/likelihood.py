"""How normal tokens are: their negative log-likelihood under the clean label, as an anomaly score.

In: an image's ids and a mask. Out: nats by cell, each given all that surrounds the mask. A painted defect whose
tokens are as likely as a clean surface's is none that can be seen; a threshold is a quantile of clean images' own
scores.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tasks.networks.device import HOST, device_of, moved
from tasks.synthesis.vq_transformer.fill import views_over, window_of
from tasks.synthesis.vq_transformer.prior import Prior


@torch.no_grad()
def negative_log_likelihood(
    prior: Prior, ids: Tensor, free: Tensor, covers: Tensor, label: int, placed: bool = False
) -> Tensor:
    """(h, w): nats of each cell of `free` (bool, h, w) given the others and the free ones before it; 0 elsewhere.

    `free`, `covers` and the result are on the host.
    """
    device, result = device_of(prior), torch.zeros(ids.shape)
    ids = ids.to(device)
    for view in views_over(free, prior.window):
        window = moved(window_of(view, covers, [label], placed), device)
        order = window.order[0]
        ordered = ids[view.part].flatten()[order]
        nats = functional.cross_entropy(prior(ordered[None], window)[0], ordered, reduction="none")
        nats = torch.empty_like(nats).scatter(0, order, nats).to(HOST)
        part = result[view.part]
        result[view.part] = torch.where(view.wanted, nats, part.flatten()).view_as(part)
    return result
