"""Online decoder adaptation: the objective falls, the weights come back, the closed form is the optimum."""

from __future__ import annotations

import pytest
import torch
from skimage import data
from torch import Tensor
from torch.nn import functional

from tasks.diffusion.codec import Codec, load_codec
from tasks.diffusion.latents import blend, to_tensor
from tasks.generation import adaptation
from tasks.generation.adaptation import adapt_decoder, adaptation_loss, overlapping_windows, ridge_regression
from tasks.networks.lpips import shared_lpips
from tasks.params import AdaptParams, CodecParams

PUBLISHED = AdaptParams(kind="published", steps=15, learning_rate=2e-4)
CLOSED_FORM = AdaptParams(kind="closed_form")


@pytest.fixture(scope="module")
def codec() -> Codec:
    return load_codec(CodecParams())


@pytest.fixture(scope="module")
def case(codec: Codec) -> tuple[Tensor, Tensor, Tensor]:
    """Latents with a painted square, the clean images, the masks."""
    images = [data.coffee()[40:168, 200:328], data.chelsea()[60:188, 100:228]]
    cleans = to_tensor(images)
    masks = torch.zeros(2, 1, 128, 128)
    masks[:, :, 48:80, 40:88] = 1
    with torch.no_grad():
        return codec.encode(cleans * (1 - masks) - 0.6 * masks), cleans, masks


def outside_error(images: Tensor, cleans: Tensor, masks: Tensor) -> float:
    return float(((images - cleans).abs() * (1 - masks)).mean() * 127.5)


@pytest.mark.parametrize("params", [PUBLISHED, CLOSED_FORM], ids=lambda params: params.kind)
def test_the_objective_falls_and_the_defect_stays(
    codec: Codec, case: tuple[Tensor, Tensor, Tensor], params: AdaptParams
) -> None:
    latents, cleans, masks = case
    plain = codec.decode(latents)
    adapted = adapt_decoder(codec, latents, cleans, masks, params)
    before = adaptation_loss(plain, plain, cleans, masks, 100.0)
    after = adaptation_loss(adapted, plain, cleans, masks, 100.0)
    assert after < before
    assert outside_error(adapted, cleans, masks) < outside_error(plain, cleans, masks)
    inside = ((adapted - plain).abs() * masks).sum() / (3 * masks.sum())
    assert inside * 127.5 < 12


@pytest.mark.parametrize("params", [PUBLISHED, CLOSED_FORM], ids=lambda params: params.kind)
def test_the_painted_defect_looks_as_the_decoder_made_it(
    codec: Codec, case: tuple[Tensor, Tensor, Tensor], params: AdaptParams
) -> None:
    latents, cleans, masks = case
    plain = codec.decode(latents).clamp(-1, 1)
    adapted = blend(adapt_decoder(codec, latents, cleans, masks, params).clamp(-1, 1), plain, masks)
    assert shared_lpips()(adapted, plain).max() < 0.05


def test_gradient_descent_goes_down(
    codec: Codec, case: tuple[Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[Tensor] = []

    def remembered(*args: object) -> Tensor:
        losses.append(adaptation_loss(*args))  # type: ignore[arg-type]
        return losses[-1]

    monkeypatch.setattr(adaptation, "adaptation_loss", remembered)
    adapt_decoder(codec, *(part[:1] for part in case), PUBLISHED)
    average = torch.stack(losses).detach().unfold(0, 5, 1).mean(dim=1)
    assert average[-1] < 0.7 * average[0]
    assert average.diff().max() < 0.05 * average[0]


def test_the_closed_form_brings_the_surroundings_nearer_by_half(
    codec: Codec, case: tuple[Tensor, Tensor, Tensor]
) -> None:
    plain = codec.decode(case[0])
    adapted = adapt_decoder(codec, *case, CLOSED_FORM)
    assert outside_error(adapted, *case[1:]) < 0.5 * outside_error(plain, *case[1:])


def test_the_closed_form_beats_short_gradient_descent(codec: Codec, case: tuple[Tensor, Tensor, Tensor]) -> None:
    latents, cleans, masks = case
    plain = codec.decode(latents)
    exact, stepped = (adapt_decoder(codec, latents, cleans, masks, params) for params in (CLOSED_FORM, PUBLISHED))
    assert adaptation_loss(exact, plain, cleans, masks, 100.0) < adaptation_loss(stepped, plain, cleans, masks, 100.0)


def test_what_is_pasted_and_looked_at_is_as_if_all_of_the_image_were_adapted(
    codec: Codec, case: tuple[Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = torch.zeros_like(case[2])
    masks[:, :, 20:30, 24:34] = 1
    near = functional.max_pool2d(masks, 2 * (CLOSED_FORM.feather + adaptation.SEEN) + 1, 1, 22) == 1
    here = adapt_decoder(codec, case[0], case[1], masks, CLOSED_FORM)
    monkeypatch.setattr(adaptation, "SEEN", 1000)
    everywhere = adapt_decoder(codec, case[0], case[1], masks, CLOSED_FORM)
    same = near.expand_as(here)
    assert torch.equal(here[same], everywhere[same])
    assert not torch.equal(here[:, :, 100:, 100:], everywhere[:, :, 100:, 100:])


def test_none_is_the_plain_decoder(codec: Codec, case: tuple[Tensor, Tensor, Tensor]) -> None:
    latents, cleans, masks = case
    adapted = adapt_decoder(codec, latents, cleans, masks, AdaptParams(kind="none"))
    assert torch.allclose(adapted, codec.decode(latents), atol=0.06)


@pytest.mark.parametrize("params", [PUBLISHED, CLOSED_FORM], ids=lambda params: params.kind)
def test_an_image_does_not_depend_on_its_companions(
    codec: Codec, case: tuple[Tensor, Tensor, Tensor], params: AdaptParams
) -> None:
    together = adapt_decoder(codec, *case, params)
    alone = adapt_decoder(codec, *(part[1:] for part in case), params)
    assert torch.equal(together[1:], alone)


def test_the_weights_come_back_even_after_an_error(
    codec: Codec, case: tuple[Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {name: tensor.clone() for name, tensor in codec.state_dict().items()}
    adapt_decoder(codec, *case, PUBLISHED)
    calls = iter(range(100))

    def fail_late(*args: object) -> Tensor:
        if next(calls) == 3:
            raise RuntimeError("out of memory")
        return adaptation_loss(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(adaptation, "adaptation_loss", fail_late)
    with pytest.raises(RuntimeError, match="out of memory"):
        adapt_decoder(codec, *case, PUBLISHED)
    assert all(torch.equal(tensor, before[name]) for name, tensor in codec.state_dict().items())


def test_windows_add_up_to_one_without_a_seam() -> None:
    total = torch.zeros(20, 36)
    for rows, columns, hat in overlapping_windows(20, 36, 8):
        total[rows, columns] += hat
        assert (hat > 0).all()
    assert torch.allclose(total, torch.ones(20, 36))


def test_ridge_regression_is_the_optimum() -> None:
    """At the solution the gradient of the weighted objective vanishes; a planted linear map is found."""
    generator = torch.Generator().manual_seed(0)
    inputs, planted = torch.randn(80, 5, generator=generator), torch.randn(5, 3, generator=generator)
    weight = torch.rand(80, 1, generator=generator) + 0.1
    assert torch.allclose(ridge_regression(inputs, inputs @ planted, weight, 1e-7), planted, atol=1e-4)
    targets = torch.randn(80, 3, generator=generator)
    solution = ridge_regression(inputs, targets, weight, 0.1).requires_grad_(True)
    energy = (inputs.square() * weight).sum(dim=0).mean()
    objective = (weight * (inputs @ solution - targets).square()).sum() + 0.1 * energy * solution.square().sum()
    (gradient,) = torch.autograd.grad(objective, solution)
    assert gradient.abs().max() < 1e-3
