"""Stage one: both losses on their way back through the decoder's last layer, and training that survives a kill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.diffusion.codec import load_codec
from tasks.diffusion.discriminator import LARGEST_WEIGHT
from tasks.params import CodecParams
from tasks.params.systems import TokenCodecParams
from tasks.synthesis.vq_transformer.image_codec import EmbeddedImageCodec
from tasks.synthesis.vq_transformer.vqgan_training import VQGANTraining, reconstruction_loss
from tasks.training.loop import run_training
from tests.factories import make_inputs

PARAMS = TokenCodecParams(
    codebook_size=32, steps=6, batch_size=2, crop=32, discriminator_width=8, discriminator_start=0.2, checkpoint_every=2
)
IMAGES = [image.image for image in make_inputs(size=64, cleans=2).images]


def new_training(params: TokenCodecParams = PARAMS) -> VQGANTraining:
    return VQGANTraining(EmbeddedImageCodec(load_codec(CodecParams()), params.codebook_size), IMAGES, params, seed=0)


def state(training: VQGANTraining) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in training.network.state_dict().items()}


def test_lambda_is_that_of_plain_gradients_through_the_last_layer() -> None:
    training = new_training()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    quantised = training.codec.quantiser(training.codec.vectors(images))
    rebuilt = training.codec.rebuild(quantised.codes)
    layer = training.codec.last_layer.weight
    losses = (reconstruction_loss(rebuilt, images, 0.5), -training.discriminator(rebuilt).mean())
    plain = [torch.autograd.grad(loss, layer, retain_graph=True)[0].norm() for loss in losses]
    gradients = [torch.autograd.grad(loss, rebuilt, retain_graph=True)[0] for loss in losses]
    weight = training.adversarial_weight(rebuilt, *gradients)
    assert torch.isclose(weight, plain[0] / (plain[1] + 1e-4), rtol=1e-3)
    assert 0 < weight < LARGEST_WEIGHT


def test_all_weights_learn_and_stay_finite() -> None:
    training = new_training()
    before = state(training)
    losses = run_training(training)
    after = state(training)
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    for part in ("codec.codec.network.encoder", "codec.codec.network.decoder", "codec.quantiser", "discriminator"):
        assert sum(name.startswith(part) for name in moved) > 0.7 * sum(name.startswith(part) for name in before)
    assert all(tensor.isfinite().all() for tensor in after.values())
    assert np.isfinite(losses).all()


def test_the_discriminator_has_no_say_before_it_has_learned() -> None:
    for start, moved in ((0.9, False), (0.0, True)):
        training = new_training(PARAMS.model_copy(update={"discriminator_start": start}))
        before = training.discriminator[0].weight.clone()
        training.advance()
        assert (not torch.equal(before, training.discriminator[0].weight)) == moved


def test_training_survives_a_kill_at_any_step(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def die_at_five(done: int, steps: int) -> None:
        if done == 5:
            raise Killed

    undisturbed, checkpoint = new_training(), tmp_path / "checkpoint"
    run_training(undisturbed)
    with pytest.raises(Killed):
        run_training(new_training(), checkpoint, "made", die_at_five)
    resumed = new_training()
    resumed.resume_from(checkpoint, "made")
    assert len(run_training(resumed)) == 2
    whole, again = state(undisturbed), state(resumed)
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    anew = new_training()
    anew.resume_from(checkpoint, "of something else")
    assert anew.step == 0
