"""The recipe of the codec that ships with the project.

    python -m tasks.diffusion.shipped_codec OUT --seconds 200 [--latent-channels 8]
        [--photographs FOLDER] [--assets FOLDER] [--images FILE [--images-only]] [--small]

Trained on photographs that are CC0 or in the public domain and on procedural images (`shipped_images.py`), so that the
weights carry no licence but the project's own, Apache-2.0. `--assets` is the npm package @pmndrs/assets, unpacked;
`--photographs` a folder of further photographs without copyright. `--images` keeps all pictures in a file, which
several trainings can share. All schedules follow the clock: the training ends, annealed, after the seconds it was
given. It wants a GPU; with `--small` it shows on any machine that it runs.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from tasks.diffusion.codec import FACTOR, EmbeddedCodec, save_codec
from tasks.diffusion.codec_network import Architecture
from tasks.diffusion.discriminator import PatchDiscriminator, discriminator_loss
from tasks.diffusion.shipped_images import SIZE, Recipe, TrainingImages, gather, load_images, save_images
from tasks.networks.device import choose_device, describe_device, lower_precision
from tasks.networks.lpips import LPIPS
from tasks.seeds import derive

SEED = 1
WIDTHS, ENCODER_BLOCKS, DECODER_BLOCKS = (64, 96, 160), (1, 2, 1), (2, 2, 2)
_LEARNING_RATE = 1.5e-3
_DISCRIMINATOR_RATE = 3e-4
_WARM_UP = 0.03
_LPIPS_WEIGHT = 0.8
_TEXTURE_WEIGHT = 0.5
_LATENT_DECAY = 1e-4
_LATENT_NOISE = 0.03
"""Standard deviation, in those of the latents: the decoder learns to stand what a denoiser leaves over."""
_LARGE_CROPS_FROM = 0.5
_DISCRIMINATOR_FROM = 0.5
_ADVERSARIAL_FROM, _ADVERSARIAL_RAMP = 0.6, 0.1
_ADVERSARIAL_SHARE = 0.3
"""Of the other losses' gradient with respect to the image."""
_AVERAGE = 0.999
_LOG_EVERY = 25
_CHECKPOINT_SECONDS = 30.0


@dataclass(frozen=True)
class Scale:
    """What differs between the training and a proof that it runs."""

    procedural: int = 5400
    reliefs: int = 2700
    small_crops: tuple[int, int] = (96, 112)
    """Height and width in pixels, and how many a batch."""
    large_crops: tuple[int, int] = (128, 64)
    discriminator_width: int = 32


SMALL = Scale(procedural=24, reliefs=12, small_crops=(64, 4), large_crops=(64, 4), discriminator_width=8)


class Crops:
    """Random crops, put together and changed in tone where the network is trained: no loader could keep up."""

    def __init__(self, images: TrainingImages, device: torch.device, seed: int) -> None:
        self.pictures = torch.from_numpy(images.pictures).to(device)
        self.shares = torch.from_numpy(images.shares).to(device, torch.float32)
        self.device, self.generator = device, torch.Generator(device).manual_seed(seed)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)

    def chosen(self, count: int) -> Tensor:
        return torch.multinomial(self.shares, count, replacement=True, generator=self.generator)

    def draw(self, size: int, count: int) -> Tensor:
        """(count, 3, size, size) in [-1, 1], with random place, flips and quarter turns."""
        corner = (self.uniform(2, count, 1, 1) * (SIZE + 1 - size)).long()
        turned, upside_down, mirrored = self.uniform(3, count, 1, 1) < 0.5
        along = torch.arange(size, device=self.device).view(1, -1, 1)
        across = along.transpose(1, 2)
        rows, columns = torch.where(turned, across, along), torch.where(turned, along, across)
        rows = corner[0] + torch.where(upside_down, size - 1 - rows, rows)
        columns = corner[1] + torch.where(mirrored, size - 1 - columns, columns)
        crops = self.pictures[self.chosen(count).view(-1, 1, 1), rows, columns]
        return self.toned(crops.permute(0, 3, 1, 2).float() / 255) * 2 - 1

    def toned(self, images: Tensor) -> Tensor:
        """Images in [0, 1] with other colour, contrast, exposure and grain."""
        colour, contrast, exposure, grainy = self.uniform(4, len(images), 1, 1, 1)
        grey = images.mean(dim=1, keepdim=True)
        images = torch.lerp(images, grey.expand_as(images), torch.where(colour < 0.35, 1.0, 1 - colour))
        middle = images.mean(dim=(1, 2, 3), keepdim=True)
        images = (middle + (images - middle) * (0.5 + 0.7 * contrast)) * (0.55 + 0.6 * exposure)
        deviation = 0.05 * functional.relu(2 * grainy - 1).square()
        return (images + deviation * self.normal(len(images), 1, *images.shape[2:])).clamp(0, 1)

    def whole(self, count: int) -> Tensor:
        """Pictures as they are, (count, 3, 256, 256) in [-1, 1]."""
        return self.pictures[self.chosen(count)].permute(0, 3, 1, 2).float() / 127.5 - 1


def texture(images: Tensor) -> Tensor:
    """How much the finest detail deviates around each place: grain has an energy even where it has no pattern."""
    detail = images - functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    return (functional.avg_pool2d(detail.square(), 8, 4) + 1e-5).sqrt()


def learning_rate_share(share: float) -> float:
    """A linear warm-up, then half a cosine to a hundredth, by the share of the time that is over."""
    if share < _WARM_UP:
        return max(0.02, share / _WARM_UP)
    rest = min(1.0, (share - _WARM_UP) / (1 - _WARM_UP))
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * rest))


def adversarial_share(share: float) -> float:
    return _ADVERSARIAL_SHARE * min(1.0, max(0.0, (share - _ADVERSARIAL_FROM) / _ADVERSARIAL_RAMP))


class Training:
    """Codec, its average, the discriminator and their optimizers; one call of `step` a batch."""

    def __init__(self, codec: EmbeddedCodec, crops: Crops, scale: Scale) -> None:
        self.codec, self.crops, self.scale = codec, crops, scale
        self.parameters = list(codec.network.parameters())
        self.average = [parameter.detach().clone() for parameter in self.parameters]
        self.optimizer = torch.optim.AdamW(self.parameters, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
        self.discriminator = PatchDiscriminator(scale.discriminator_width).to(crops.device)
        self.discriminator.to(memory_format=torch.channels_last)
        self.judging = torch.optim.AdamW(
            self.discriminator.parameters(), _DISCRIMINATOR_RATE, betas=(0.5, 0.9), weight_decay=1e-4, fused=True
        )
        self.lpips = LPIPS().to(crops.device)
        self.steps = self.seen = 0

    def step(self, share: float) -> dict[str, Tensor]:
        """One step at this share of the time; the losses, which nobody waits for."""
        size, count = self.scale.large_crops if share >= _LARGE_CROPS_FROM else self.scale.small_crops
        images = self.crops.draw(size, count).contiguous(memory_format=torch.channels_last)
        rebuilt, losses = self.reconstruction(images)
        terms = {name: loss.detach() for name, loss in losses.items()}
        if share < _DISCRIMINATOR_FROM:
            sum(losses.values(), start=rebuilt.new_zeros(())).backward()
        else:
            terms["discriminator"] = self.judge(images, rebuilt.detach())
            self.backward_against(losses, rebuilt, adversarial_share(share))
        terms["gradient"] = self.descend(learning_rate_share(share))
        self.steps, self.seen = self.steps + 1, self.seen + count
        return terms

    def reconstruction(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The rebuilt images in float32, and the weighted losses by name."""
        noise_shape = (self.codec.latent_channels, images.shape[2] // FACTOR, images.shape[3] // FACTOR)
        with lower_precision(images.device):
            latents = self.codec.encode_raw(images)
            noise = self.crops.normal(len(images), *noise_shape)
            disturbed = latents + _LATENT_NOISE * latents.detach().float().std() * noise
            rebuilt = self.codec.decode_raw(disturbed).float()
            distance = self.lpips(rebuilt, images).mean()
        return rebuilt, {
            "absolute": (rebuilt - images).abs().mean(),
            "lpips": _LPIPS_WEIGHT * distance.float(),
            "texture": _TEXTURE_WEIGHT * (texture(rebuilt) - texture(images)).abs().mean(),
            "decay": _LATENT_DECAY * latents.float().square().mean(),
        }

    def judge(self, real: Tensor, fake: Tensor) -> Tensor:
        """A step of the discriminator; its loss."""
        with lower_precision(real.device):
            real_logits, fake_logits = self.discriminator(torch.cat([real, fake])).float().chunk(2)
        loss = discriminator_loss(real_logits, fake_logits)
        self.judging.zero_grad(set_to_none=True)
        loss.backward()
        self.judging.step()
        return loss.detach()

    def backward_against(self, losses: dict[str, Tensor], rebuilt: Tensor, adversarial: float) -> None:
        """Gradients of the losses and of the discriminator's verdict, the latter scaled to a share of the former.

        Both are taken with respect to the image, where the scaling costs nothing (cf. eq. 7 of arXiv 2012.09841).
        """
        seen = rebuilt.detach().requires_grad_()
        with lower_precision(seen.device):
            verdict = -self.discriminator(seen).float().mean()
        (wanted,) = torch.autograd.grad(verdict, seen)
        decay = losses["decay"]
        of_image = sum((loss for loss in losses.values() if loss is not decay), start=rebuilt.new_zeros(()))
        (gradient,) = torch.autograd.grad(of_image, rebuilt)
        scale = adversarial * gradient.norm() / (wanted.norm() + 1e-12)
        torch.autograd.backward([rebuilt, decay], [gradient + scale * wanted, torch.ones_like(decay)])

    def descend(self, rate: float) -> Tensor:
        """A step of the codec and of its average; the norm of the gradient. One that is not finite is left out."""
        norm = nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined]
        self.optimizer.param_groups[0]["lr"] = _LEARNING_RATE * rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        kept = min(_AVERAGE, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.parameters, 1 - kept)
        return norm

    def averaged(self) -> EmbeddedCodec:
        """The codec with its averaged weights and normalised latents."""
        codec = copy.deepcopy(self.codec)
        with torch.no_grad():
            for parameter, average in zip(codec.network.parameters(), self.average, strict=True):
                parameter.copy_(average)
        codec.requires_grad_(False).eval()
        codec.normalise_latents(self.crops.whole(16) for _ in range(24 if self.scale != SMALL else 2))
        return codec


@dataclass
class Record:
    """What is written beside the weights and within them."""

    started: float
    seconds: float
    device: str
    sources: str
    lines: list[dict[str, float]] = field(default_factory=list)

    def metadata(self, training: Training) -> dict[str, str]:
        done = min(self.seconds, time.monotonic() - self.started)
        return {
            "recipe": f"python -m tasks.diffusion.shipped_codec --seconds {self.seconds:g}, seed {SEED}",
            "trained": f"{done:.0f} s, {training.steps} steps, {training.seen} crops, "
            f"{self.device}, torch {torch.__version__}",
            "training_data": self.sources,
            "license": "Apache-2.0",
            "final_loss": json.dumps(self.lines[-1] if self.lines else {}),
        }

    def log(self, training: Training, share: float, terms: dict[str, Tensor]) -> None:
        """Waits for the device, so that the clock tells what is done and not what was asked for."""
        values = {name: round(float(value), 5) for name, value in terms.items()}
        self.lines.append({"share": round(share, 4), "step": training.steps, "crops": training.seen, **values})
        if len(self.lines) % 10 == 1:
            logging.getLogger(__name__).info("%s", self.lines[-1])


def train_shipped(out: Path, images: TrainingImages, latent_channels: int, seconds: float, scale: Scale) -> None:
    """Train from nothing for so many seconds; weights and log appear every 30 seconds and at the end."""
    device = choose_device()
    torch.manual_seed(SEED)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = True
    codec = EmbeddedCodec(Architecture(latent_channels, WIDTHS, ENCODER_BLOCKS, DECODER_BLOCKS)).to(device)
    training = Training(codec, Crops(images, device, derive(SEED, "crops")), scale)
    record = Record(time.monotonic(), seconds, describe_device(device), images.sources)
    saved = record.started
    for share in shares_of_time(record.started, seconds):
        terms = training.step(share)
        if training.steps % _LOG_EVERY == 1 or scale == SMALL:
            record.log(training, share, terms)
            if time.monotonic() - saved > _CHECKPOINT_SECONDS:
                write(out, training, record)
                saved = time.monotonic()
    record.log(training, 1.0, terms)
    write(out, training, record)


def shares_of_time(started: float, seconds: float) -> Iterator[float]:
    """0 to 1 by the clock; at least once."""
    share = 0.0
    while share < 1:
        yield share
        share = (time.monotonic() - started) / seconds


def write(out: Path, training: Training, record: Record) -> None:
    save_codec(training.averaged(), out, record.metadata(training))
    out.with_suffix(".log.json").write_text(json.dumps(record.lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=200)
    parser.add_argument("--latent-channels", type=int, default=8)
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--assets", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--images-only", action="store_true")
    parser.add_argument("--small", action="store_true")
    asked = parser.parse_args()
    scale = SMALL if asked.small else Scale()
    if asked.images and asked.images.is_file():
        images = load_images(asked.images)
    else:
        images = gather(Recipe(SEED, scale.procedural, scale.reliefs, asked.photographs, asked.assets))
        if asked.images:
            save_images(images, asked.images)
    if not asked.images_only:
        train_shipped(asked.out, images, asked.latent_channels, asked.seconds, scale)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    main()
