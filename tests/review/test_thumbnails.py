"""Thumbnails: every kind of picture that a dataset can name, and what is none."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from nnabla_influence.errors import DatasetError
from nnabla_influence.review.thumbnails import png_bytes, shows_a_picture, thumbnail
from tests.dataset.common import noise, save_image

GRAY = np.array([[0, 51, 255], [102, 204, 153]], np.uint8)


def pixels(path, size: int = 8) -> np.ndarray:
    return np.asarray(thumbnail(path, size))


@pytest.mark.parametrize("name", ["a.png", "b.BMP", "c.gif", "d.tif", "画像 1.png"])
def test_small_pictures_are_shown_as_they_are(tmp_path, name):
    path = save_image(tmp_path / name, GRAY)
    assert thumbnail(path, 8).mode in ("L", "RGB")
    assert np.array_equal(np.asarray(thumbnail(path, 8).convert("L")), GRAY)


@pytest.mark.parametrize(("mode", "shown"), [("RGB", "RGB"), ("RGBA", "RGBA"), ("LA", "RGBA")])
def test_colours_and_transparency_stay(tmp_path, mode, shown):
    colours = noise(4, 5, len(mode)) if mode != "LA" else noise(4, 5, 2)
    Image.fromarray(colours, mode if mode == "LA" else None).save(tmp_path / "a.png")
    image = thumbnail(tmp_path / "a.png", 8)
    assert (image.mode, image.size) == (shown, (5, 4))
    if mode == "LA":
        colours = colours[..., [0, 0, 0, 1]]
    assert np.array_equal(np.asarray(image), colours)


def test_a_palette_shows_its_colours(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 128, 255])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png")
    assert pixels(tmp_path / "a.png").tolist() == [[[255, 0, 0], [0, 128, 255]]]
    image.save(tmp_path / "b.png", transparency=1)
    assert pixels(tmp_path / "b.png").tolist() == [[[255, 0, 0, 255], [0, 128, 255, 0]]]


@pytest.mark.parametrize("extension", ["png", "tif"])
def test_16_bits_are_brought_to_8(tmp_path, extension):
    path = save_image(tmp_path / f"a.{extension}", GRAY.astype(np.uint16) * 257)
    assert np.array_equal(pixels(path), GRAY)


def test_a_large_picture_is_made_smaller_with_its_aspect_kept(tmp_path):
    halves = np.zeros((60, 120, 3), np.uint8)
    halves[:, 60:] = 255
    for name in ("a.png", "a.jpg"):
        image = thumbnail(save_image(tmp_path / name, halves), 32)
        assert image.size == (32, 16)
        left, right = np.asarray(image)[:, :14], np.asarray(image)[:, 18:]
        assert left.max() < 16
        assert right.min() > 239


@pytest.mark.parametrize(
    ("array", "shown"),
    [
        (GRAY, GRAY),
        (GRAY[None], GRAY),
        (GRAY[..., None], GRAY),
        (GRAY.astype(np.uint16) * 257, GRAY),
        (GRAY.astype(np.float32) / 255, GRAY),
        (GRAY > 100, (GRAY > 100) * np.uint8(255)),
        # What leaves 0..1 goes from its smallest to its largest value.
        (GRAY.astype(np.float64) * 4 - 2, GRAY),
        (GRAY.astype(np.int64) * 1000, GRAY),
        (np.array([[np.nan, np.inf, 1.0, 0.5]]), np.array([[0, 0, 255, 128]])),
        (np.full((2, 2), 7.0), np.zeros((2, 2))),
        (np.stack([GRAY, GRAY.T.reshape(2, 3), 255 - GRAY]), None),
        (np.stack([GRAY, GRAY, GRAY, 255 - GRAY]).astype(np.float16) / 255, None),
    ],
)
def test_arrays(tmp_path, array, shown):
    np.save(tmp_path / "a.npy", array)
    if shown is None:  # channels first
        scale = 1 if array.dtype == np.uint8 else 255
        shown = np.rint(np.moveaxis(array.astype(np.float64) * scale, 0, 2))
    assert shows_a_picture(tmp_path / "a.npy")
    assert np.array_equal(pixels(tmp_path / "a.npy"), shown)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 5), (1, 1, 3, 3), (0, 4)])
def test_arrays_that_are_not_pictures(tmp_path, shape):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros(shape))
    assert not shows_a_picture(path)
    with pytest.raises(DatasetError, match=r"a\.npy: cannot be shown \(an array of the shape .*\)"):
        thumbnail(path, 8)


def test_what_is_broken_is_reported_in_one_line_with_its_path(tmp_path):
    path = tmp_path / "a.png"
    whole = png_bytes(Image.fromarray(noise(40, 40)))
    for content in (b"", b"no picture", whole[: len(whole) // 2], b"\x93NUMPY"):
        path.write_bytes(content)
        with pytest.raises(DatasetError) as error:
            thumbnail(path, 8)
        assert str(error.value).startswith(f"{path}: cannot be shown (")
        assert str(error.value).count(str(path)) == 1
        assert "\n" not in str(error.value)


def test_no_objects_are_loaded_from_an_array(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    assert not shows_a_picture(tmp_path / "a.npy")
    with pytest.raises(DatasetError, match="cannot be shown"):
        thumbnail(tmp_path / "a.npy", 8)


def test_a_picture_of_absurd_size_is_refused(tmp_path, monkeypatch):
    path = save_image(tmp_path / "a.png", noise(30, 30))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DatasetError, match=r"cannot be shown \(.*exceeds limit"):
        thumbnail(path, 8)
