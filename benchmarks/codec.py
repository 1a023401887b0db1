"""The shipped codec beside TAEF2 on photographs that neither was trained on: PSNR and LPIPS.

    python -m benchmarks.codec --data FOLDER --taef2 FOLDER [--images 24] [--workspace DIR]
        [--codec FILE ...] [--sheet PNG]
    python -m benchmarks.codec --pictures FOLDER --taef2 FOLDER ...

`--data` holds `mvtec/bottle` and `magnetic_tile`; solar cells come from the package elpv-dataset. `--taef2` holds
`taef2_encoder.pth` and `taef2_decoder.pth` (MIT). TAEF2 has 32 latent channels where ours has 8, so it spends four
times the numbers on an image: the comparison says what the smaller latent space costs. With `--workspace`, the
codec that a run has fine-tuned is compared, too, on clean images of that run's test split. `--pictures` names a folder
of folders of pictures that takes the place of `--data`; `--codec` adds further weight files; `--sheet` shows four
pictures a set, each beside what the codecs make of it.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch import Tensor, nn

from benchmarks.figures import print_figure
from tasks.contracts import TEST, Image
from tasks.diffusion.codec import load_codec
from tasks.diffusion.latents import to_tensor
from tasks.files.names import CODEC
from tasks.inputs.dataset import read_inputs
from tasks.networks.device import HOST, choose_device
from tasks.networks.lpips import shared_lpips
from tasks.params import CodecParams

_SIZE = 256
_SHOWN = 4
Rebuild = Callable[[Tensor], Tensor]


class _Block(nn.Module):
    """Three 3 x 3 convolutions with a skip; the deepest ones add a squeezed branch with group normalisation."""

    def __init__(self, deep: bool) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(64, 64, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], nn.ReLU(), convolutions[2])
        self.pool = None
        if deep:
            wide, back = nn.Conv2d(64, 256, 1, bias=False), nn.Conv2d(256, 64, 1, bias=False)
            self.pool = nn.Sequential(wide, nn.GroupNorm(4, 256), nn.ReLU(), back)

    def forward(self, hidden: Tensor) -> Tensor:
        if self.pool is not None:
            hidden = hidden + self.pool(hidden)
        return torch.relu(self.conv(hidden) + hidden)


class _Squash(nn.Module):
    def forward(self, latents: Tensor) -> Tensor:
        return torch.tanh(latents / 3) * 3


def _down() -> nn.Module:
    return nn.Conv2d(64, 64, 3, stride=2, padding=1, bias=False)


def _up(deep: bool = False) -> list[nn.Module]:
    blocks: list[nn.Module] = [_Block(deep) for _ in range(3)]
    return [*blocks, nn.Upsample(scale_factor=2), nn.Conv2d(64, 64, 3, padding=1, bias=False)]


def load_taef2(folder: Path, device: torch.device = HOST) -> Rebuild:
    """Madebyollin's tiny autoencoder of FLUX.2's latent space; images in [-1, 1] in and out."""
    encoder = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), _Block(False),
        _down(), *(_Block(False) for _ in range(3)),
        _down(), *(_Block(False) for _ in range(3)),
        _down(), *(_Block(True) for _ in range(3)),
        nn.Conv2d(64, 32, 3, padding=1),
    )  # fmt: skip
    decoder = nn.Sequential(
        _Squash(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        *_up(deep=True), *_up(), *_up(), _Block(False), nn.Conv2d(64, 3, 3, padding=1),
    )  # fmt: skip
    for network, name in ((encoder, "taef2_encoder.pth"), (decoder, "taef2_decoder.pth")):
        state = torch.load(folder / name, weights_only=True, map_location="cpu")
        network.load_state_dict({key: value.float() for key, value in state.items()})
        network.to(device)
    return lambda images: decoder.eval()(encoder.eval()((images + 1) / 2)) * 2 - 1


def read_images(paths: Sequence[Path], count: int) -> list[Image]:
    """`count` images, evenly spaced in sorted order, at 256 px."""
    chosen = [sorted(paths)[i] for i in np.linspace(0, len(paths) - 1, count).astype(int)]
    images = []
    for path in chosen:
        with PIL.Image.open(path) as picture:
            images.append(np.asarray(picture.convert("RGB").resize((_SIZE, _SIZE), PIL.Image.Resampling.LANCZOS)))
    return images


def image_sets(data: Path) -> dict[str, list[Path]]:
    spec = importlib.util.find_spec("elpv_dataset")
    assert spec is not None
    assert spec.origin is not None
    return {
        "solar cells": list((Path(spec.origin).parent / "data" / "images").glob("*.png")),
        "bottle": list((data / "mvtec" / "bottle").glob("t*/*/*.jpg"))
        + list((data / "mvtec" / "bottle").glob("t*/*/*.png")),
        "magnetic tile": list((data / "magnetic_tile").glob("*/*.jpg")),
    }


def folders_of(pictures: Path) -> dict[str, list[Path]]:
    """The pictures of each folder in a folder, by its name."""
    return {folder.name: list(folder.glob("*.png")) for folder in sorted(pictures.iterdir()) if folder.is_dir()}


@torch.no_grad()
def fidelity(rebuild: Rebuild, images: Sequence[Image], device: torch.device = HOST) -> tuple[float, float]:
    """Mean PSNR in dB and mean LPIPS (AlexNet) over the images."""
    decibels, distances = [], []
    for image in images:
        original = to_tensor([image], device)
        rebuilt = rebuild(original).clamp(-1, 1)
        decibels.append(10 * np.log10(4 / float((rebuilt - original).square().mean())))
        distances.append(float(shared_lpips(device=device)(rebuilt, original)))
    return float(np.mean(decibels)), float(np.mean(distances))


def codec_at(path: Path | None = None, device: torch.device = HOST) -> Rebuild:
    codec = load_codec(CodecParams(), path, device)
    return lambda images: codec.decode(codec.encode(images))


def held_out(workspace: Path, count: int) -> list[Image]:
    """Clean images of the test split, evenly spaced."""
    inputs = read_inputs(workspace / "data" / "inputs")
    images = [image.image for category in inputs.categories for image in inputs.clean(category, TEST)]
    return [images[i] for i in np.linspace(0, len(images) - 1, count).astype(int)]


@torch.no_grad()
def shown(images: Sequence[Image], peers: dict[str, Rebuild], device: torch.device) -> Image:
    """A row for each of a few pictures: itself, then what each peer makes of it."""
    rows = []
    for image in images[:: max(1, len(images) // _SHOWN)][:_SHOWN]:
        rebuilt = [rebuild(to_tensor([image], device)).clamp(-1, 1)[0] for rebuild in peers.values()]
        pictures = [((each + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy() for each in rebuilt]
        rows.append(np.concatenate([image, *pictures], axis=1))
    return np.concatenate(rows)


def compare(name: str, images: Sequence[Image], peers: dict[str, Rebuild], device: torch.device) -> float:
    """Print a line a peer; returns by how many dB the first is better than TAEF2."""
    results = {peer: fidelity(rebuild, images, device) for peer, rebuild in peers.items()}
    for peer, (psnr, lpips) in results.items():
        print(f"{name:16s}{peer:18s}{psnr:10.2f}{lpips:10.3f}")
    return next(iter(results.values()))[0] - results["TAEF2"][0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--taef2", type=Path, required=True)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--codec", type=Path, action="append", default=[])
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    if (arguments.data is None) == (arguments.pictures is None):
        parser.error("give either --data or --pictures")
    device = choose_device()
    peers = {"shipped": codec_at(device=device)}
    peers |= {path.stem: codec_at(path, device) for path in arguments.codec}
    peers["TAEF2"] = load_taef2(arguments.taef2, device)
    print(f"{'images':16s}{'codec':18s}{'PSNR dB':>10s}{'LPIPS':>10s}")
    paths = folders_of(arguments.pictures) if arguments.pictures else image_sets(arguments.data)
    sets = {name: read_images(found, arguments.images) for name, found in paths.items()}
    differences = [compare(name, images, peers, device) for name, images in sets.items()]
    if arguments.sheet:
        rows = [shown(images, peers, device) for images in sets.values()]
        PIL.Image.fromarray(np.concatenate(rows)).save(arguments.sheet)
    if arguments.workspace:
        fine_tuned = codec_at(arguments.workspace / "data" / "models" / CODEC, device)
        images = held_out(arguments.workspace, arguments.images)
        compare("test split", images, {"fine-tuned": fine_tuned, **peers}, device)
    difference = float(np.mean(differences))
    print_figure("codec", difference, "dB PSNR, ours minus TAEF2, mean over the sets", "at least 0", difference >= 0)


if __name__ == "__main__":
    main()
