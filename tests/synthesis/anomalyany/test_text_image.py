"""Images and texts in one space: CLIP as its own processor feeds it, and the small one that learns its words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import CLIPModel, CLIPProcessor

from tasks.contracts import DefectoryError
from tasks.synthesis.anomalyany.text_image import EmbeddedTextImage, PretrainedTextImage, TextImage
from tests.synthesis.anomalyany.tiny_clip import SIDE, save_tiny_clip

TEXTS = ["a plate with spot", "a plate"]


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(params=["embedded", "pretrained"])
def model(request: pytest.FixtureRequest, clip_folder: Path) -> TextImage:
    torch.manual_seed(0)
    return EmbeddedTextImage(TEXTS) if request.param == "embedded" else PretrainedTextImage(str(clip_folder))


def images(count: int = 2, side: int = 64) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(4)) * 2 - 1


def test_vectors_are_of_length_one_and_gradients_reach_the_image(model: TextImage) -> None:
    point = images().requires_grad_()
    of_images, of_texts = model.of_images(point), model.of_texts(TEXTS)
    assert of_images.shape == of_texts.shape
    assert torch.allclose(of_images.norm(dim=1), torch.ones(2), atol=1e-5)
    assert torch.allclose(of_texts.norm(dim=1), torch.ones(2), atol=1e-5)
    (gradient,) = torch.autograd.grad((of_images * of_texts).sum(), point)
    assert (gradient.abs().sum(dim=(1, 2, 3)) > 0).all()


def test_clip_is_given_what_its_own_processor_gives(clip_folder: Path) -> None:
    pixels = (np.random.default_rng(2).random((SIDE, SIDE, 3)) * 255).astype(np.uint8)
    clip, processor = CLIPModel.from_pretrained(clip_folder).eval(), CLIPProcessor.from_pretrained(clip_folder)
    with torch.no_grad():
        expected = clip(**processor(text=TEXTS, images=pixels, return_tensors="pt", padding=True))
        ours = PretrainedTextImage(str(clip_folder))
        image = torch.from_numpy(pixels).permute(2, 0, 1).unsqueeze(0) / 127.5 - 1
        assert torch.allclose(ours.of_images(image), expected.image_embeds, atol=1e-4)
    assert torch.allclose(ours.of_texts(TEXTS), expected.text_embeds, atol=1e-4)


def test_a_folder_without_clip_is_named(tmp_path: Path) -> None:
    with pytest.raises(DefectoryError, match=r"anomalyany\.text_image_path .*absent.*no CLIP model could be loaded"):
        PretrainedTextImage(str(tmp_path / "absent"))
