"""Any mode and size becomes RGB of one size, and whatever cannot is refused with its reason."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from scipy.ndimage import label

from tasks.inputs.normalise import UnusableInput, fit_image, fit_mask, read_mask, read_photograph
from tests.inputs.helpers import mask_of, photograph, save

LIMIT = 1_000_000


def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 1000], [32768, 65278, 65535]], dtype=np.uint16)
    PIL.Image.fromarray(values).save(tmp_path / "deep.png")
    decoded = read_photograph(tmp_path / "deep.png", LIMIT)
    assert decoded.dtype == np.uint8
    assert decoded[..., 0].tolist() == [[0, 1, 4], [128, 254, 255]]
    assert (decoded == decoded[..., :1]).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "CMYK", "1"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    colour = PIL.Image.new("RGB", (20, 10), (255, 255, 255))
    ending = "tif" if mode == "CMYK" else "png"
    colour.convert(mode).save(tmp_path / f"image.{ending}")
    decoded = read_photograph(tmp_path / f"image.{ending}", LIMIT)
    assert decoded.shape == (10, 20, 3)
    assert (decoded == 255).all()


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (4, 4), (35, 164, 54)).quantize(4).save(tmp_path / "palette.png")
    assert read_photograph(tmp_path / "palette.png", LIMIT)[0, 0].tolist() == [35, 164, 54]


def test_what_transparency_hides_does_not_come_back(tmp_path: Path) -> None:
    PIL.Image.new("RGBA", (4, 4), (200, 100, 50, 0)).save(tmp_path / "hidden.png")
    assert not read_photograph(tmp_path / "hidden.png", LIMIT).any()


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    sideways = PIL.Image.new("RGB", (20, 10))
    exif = sideways.getexif()
    exif[0x0112] = 6
    sideways.save(tmp_path / "phone.jpg", exif=exif)
    assert read_photograph(tmp_path / "phone.jpg", LIMIT).shape == (20, 10, 3)


def _bomb(side: int) -> bytes:
    """A PNG of a few bytes whose header claims side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("ending", ["jpg", "png", "bmp", "tif"])
def test_a_truncated_image_is_refused(tmp_path: Path, ending: str) -> None:
    whole = save(photograph(1), tmp_path / f"whole.{ending}").read_bytes()
    (tmp_path / f"cut.{ending}").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnusableInput, match="damaged") as caught:
        read_photograph(tmp_path / f"cut.{ending}", LIMIT)
    assert str(tmp_path) not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"not an image at all", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "not an image|damaged"),
        (_bomb(20_000), "inputs.max_pixels"),
        (_bomb(10_000), "10000 x 10000 pixels are more than inputs.max_pixels"),
        (_bomb(2**31 - 1), "inputs.max_pixels|damaged"),
    ],
    ids=["zero bytes", "text", "signature only", "beyond Pillow's error", "beyond Pillow's warning", "absurd"],
)
def test_files_without_a_usable_image_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(UnusableInput, match=reason):
        read_photograph(tmp_path / "bad.png", LIMIT)


def test_a_missing_file_and_a_floating_point_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableInput, match="No such file"):
        read_photograph(tmp_path / "absent.png", LIMIT)
    PIL.Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(UnusableInput, match="8 or 16 bits"):
        read_photograph(tmp_path / "float.tif", LIMIT)


def test_a_mask_is_what_lies_above_the_threshold_in_any_channel(tmp_path: Path) -> None:
    levels = np.array([[0, 127, 128, 255]], np.uint8)
    save(levels, tmp_path / "levels.png")
    assert read_mask(tmp_path / "levels.png", LIMIT, 127, (1, 4)).tolist() == [[False, False, True, True]]
    coloured = np.zeros((2, 2, 3), np.uint8)
    coloured[1, 0] = (35, 164, 54)
    save(coloured, tmp_path / "coloured.png")
    assert read_mask(tmp_path / "coloured.png", LIMIT, 127, (2, 2)).tolist() == [[False, False], [True, False]]


def test_masks_that_are_empty_or_of_another_size_are_refused(tmp_path: Path) -> None:
    save(mask_of(value=1), tmp_path / "faint.png")
    with pytest.raises(UnusableInput, match=r"empty.*mask_threshold 127.*brightest is 1"):
        read_mask(tmp_path / "faint.png", LIMIT, 127, (64, 64))
    save(mask_of(), tmp_path / "mask.png")
    with pytest.raises(UnusableInput, match="64 x 64 pixels, the image 80 x 60"):
        read_mask(tmp_path / "mask.png", LIMIT, 127, (60, 80))


def test_fits_keep_the_whole_the_middle_or_the_shape() -> None:
    wide = np.zeros((40, 80, 3), np.uint8)
    wide[:, 20:60] = 200
    assert 90 < fit_image(wide, 40, "squash").mean() < 110
    assert (fit_image(wide, 40, "crop") == 200).all()
    padded = fit_image(wide, 40, "pad")
    assert (padded[0] == padded[15]).all(), "padding repeats the edge"
    assert {fit_image(wide, 32, fit).shape for fit in ("squash", "crop", "pad")} == {(32, 32, 3)}


def test_a_mask_moves_with_its_image_and_padding_is_no_defect() -> None:
    mask = np.zeros((40, 80), bool)
    mask[:, :40] = True
    assert fit_mask(mask, 40, "squash").mean() == 0.5
    assert fit_mask(mask, 40, "pad").mean() == pytest.approx(0.25)


def test_a_crack_one_pixel_wide_stays_in_one_piece() -> None:
    crack = np.zeros((500, 500), bool)
    steps = np.arange(500)
    crack[(steps * 0.37).astype(int), steps] = True
    pieces, count = label(fit_mask(crack, 256, "squash"), np.ones((3, 3)))
    assert count == 1
    assert pieces.any(axis=0).all()


def test_a_defect_that_is_cut_away_is_refused() -> None:
    mask = np.zeros((40, 80), bool)
    mask[:, :5] = True
    with pytest.raises(UnusableInput, match="nothing of its mask is left"):
        fit_mask(mask, 40, "crop")
