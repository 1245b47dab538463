"""Values against nnabla's own reader: its data iterator, then its variable assignment."""

from __future__ import annotations

import threading
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nnabla_influence.dataset import ColumnSpec, open_dataset
from nnabla_influence.dataset.values import CellReader, normalized
from tests.dataset.common import as_training_sees, noise, save_image, write_csv

N = 5


def assert_as_training_sees(
    path: Path, shapes: dict[str, tuple[int, ...]], *, normalize: bool = True
) -> None:
    dataset = open_dataset(
        path, [ColumnSpec(name, shape) for name, shape in shapes.items()], normalize=normalize
    )
    expected = as_training_sees(path, shapes, normalize=normalize)
    rows = np.array([N - 1, 0, 2, 2])
    batch = dataset.batch(rows)
    assert list(batch) == list(shapes)
    for name in shapes:
        assert batch[name].dtype == np.float32
        # Bit for bit, and nothing constant that would agree by chance.
        np.testing.assert_array_equal(batch[name], expected[name][rows])
        assert len(np.unique(batch[name])) > 1


def numbered(folder: Path, extension: str = "png") -> Path:
    """Write a CSV of the files 0.png, 1.png and so on."""
    return write_csv(folder / "x.csv", ["x"], [[f"{k}.{extension}"] for k in range(N)])


def grey_images(folder: Path, *shape: int) -> Path:
    for k in range(N):
        save_image(folder / f"{k}.png", noise(*shape, seed=k))
    return numbered(folder)


def palette_image(path: Path, seed: int, **options: object) -> None:
    Image.fromarray(noise(6, 5, 3, seed=seed)).quantize(16).save(path, **options)


IMAGES = {
    "grey.png": (lambda p, k: save_image(p, noise(6, 5, seed=k)), (1, 6, 5)),
    "colour.png": (lambda p, k: save_image(p, noise(6, 5, 3, seed=k)), (3, 6, 5)),
    "alpha.png": (lambda p, k: save_image(p, noise(6, 5, 4, seed=k)), (4, 6, 5)),
    "grey_alpha.png": (lambda p, k: save_image(p, noise(6, 5, 2, seed=k)), (2, 6, 5)),
    "black_or_white.png": (lambda p, k: save_image(p, noise(6, 5, seed=k), "1"), (1, 6, 5)),
    "palette.png": (palette_image, (3, 6, 5)),
    "transparent.png": (lambda p, k: palette_image(p, k, transparency=1), (4, 6, 5)),
    "deep.png": (lambda p, k: save_image(p, noise(6, 5, seed=k, dtype=np.uint16)), (1, 6, 5)),
    "deep.tif": (lambda p, k: save_image(p, noise(6, 5, seed=k, dtype=np.uint16)), (1, 6, 5)),
    "float.tif": (lambda p, k: save_image(p, noise(6, 5, seed=k).astype("f4")), (1, 6, 5)),
    "grey.jpg": (lambda p, k: save_image(p, noise(6, 5, seed=k)), (1, 6, 5)),
    "colour.jpeg": (lambda p, k: save_image(p, noise(6, 5, 3, seed=k)), (3, 6, 5)),
    "UPPER.JPG": (lambda p, k: save_image(p, noise(6, 5, 3, seed=k)), (3, 6, 5)),
    "colour.bmp": (lambda p, k: save_image(p, noise(6, 5, 3, seed=k)), (3, 6, 5)),
    "palette.gif": (lambda p, k: save_image(p, noise(6, 5, seed=k)), (3, 6, 5)),
    "colour.tiff": (lambda p, k: save_image(p, noise(6, 5, 3, seed=k)), (3, 6, 5)),
}


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("name", IMAGES)
def test_images_are_what_training_sees(tmp_path, name, normalize):
    save, shape = IMAGES[name]
    for k in range(N):
        (tmp_path / str(k)).mkdir()
        save(tmp_path / str(k) / name, k)
    path = write_csv(tmp_path / "x.csv", ["x:image"], [[f"{k}/{name}"] for k in range(N)])
    assert_as_training_sees(path, {"x": shape}, normalize=normalize)


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255.0), (np.uint16, 65535.0)])
def test_every_pixel_value_is_scaled_as_the_loader_scales_it(dtype, top):
    # nnabla.utils.data_source_loader: pixels * (1.0 / top), which NumPy computes in 64 bits.
    pixels = np.arange(top + 1).astype(dtype)
    np.testing.assert_array_equal(normalized(pixels), (pixels * (1.0 / top)).astype(np.float32))


def test_images_are_kept_in_a_byte_a_pixel(tmp_path):
    path = grey_images(tmp_path, 40, 50)
    open_dataset(path, [ColumnSpec("x", (1, 40, 50))], cache_dir=tmp_path / "cache")
    (stored,) = (tmp_path / "cache").glob("*/*.npy")
    assert stored.stat().st_size < N * 40 * 50 + 1000


def test_a_loader_that_scales_otherwise_is_believed(tmp_path, monkeypatch):
    from nnabla.utils import data_source_loader

    own = data_source_loader._load_functions[".png"]

    def other(file, shape=None, normalize=False):
        return own(file, shape, normalize) * (0.5 if normalize else 1)

    monkeypatch.setitem(data_source_loader._load_functions, ".png", other)
    assert_as_training_sees(grey_images(tmp_path, 6, 5), {"x": (1, 6, 5)})


def test_large_images_decoded_by_several_threads_keep_their_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    threads = set()
    load = CellReader.pixels
    monkeypatch.setattr(
        CellReader, "pixels", lambda *a: (threads.add(threading.get_ident()), load(*a))[1]
    )
    for k in range(12):
        save_image(tmp_path / f"{k}.png", noise(2, 200, 600, seed=k)[0])
    path = write_csv(tmp_path / "x.csv", ["x", "y"], [[f"{k}.png", k] for k in range(12)])
    dataset = open_dataset(path, [ColumnSpec("x", (1, 200, 600)), ColumnSpec("y", (1,))])
    expected = np.stack([noise(2, 200, 600, seed=k)[0] for k in range(12)])
    batch = dataset.batch(np.arange(12))
    np.testing.assert_array_equal(batch["x"][:, 0], normalized(expected))
    np.testing.assert_array_equal(batch["y"][:, 0], np.arange(12))
    assert len(threads) > 1


@pytest.mark.parametrize(
    "dtype", [np.float64, np.float32, np.float16, np.int64, np.int8, np.uint8, np.uint16, bool]
)
def test_npy_cells_are_what_training_sees(tmp_path, dtype):
    rng = np.random.default_rng(0)
    for k in range(N):
        values = 100 * rng.random((2, 3)) * (rng.random((2, 3)) < 0.5)
        np.save(tmp_path / f"{k}.npy", values.astype(dtype))
    assert_as_training_sees(numbered(tmp_path, "npy"), {"x": (2, 3)})


def save_wav(path: str, k: int) -> None:
    with wave.open(path, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(noise(20, seed=k, dtype=np.uint16).tobytes())


def by_fortran(path: str, k: int) -> None:
    np.save(path, np.asfortranarray(np.arange(6.0).reshape(2, 3) + k))


@pytest.mark.parametrize(
    ("extension", "save", "shape"),
    [
        ("npy", by_fortran, (2, 3)),
        ("csv", lambda path, k: np.savetxt(path, noise(4, 3, seed=k), delimiter=","), (4, 3)),
        ("wav", save_wav, (20, 1)),
    ],
)
def test_other_files_are_what_training_sees(tmp_path, extension, save, shape):
    for k in range(N):
        save(str(tmp_path / f"{k}.{extension}"), k)
    assert_as_training_sees(numbered(tmp_path, extension), {"x": shape})


def test_numbers_are_read_as_python_reads_them(tmp_path):
    cells = ["1_000", " 2.5 ", "1e-3", "-0.1", "0.30000000000000004"]
    path = write_csv(tmp_path / "x.csv", ["y:label"], [[cell] for cell in cells])
    assert_as_training_sees(path, {"y": (1,)})


def test_vectors_comments_and_several_inputs(tmp_path, japanese_path):
    rng = np.random.default_rng(0)
    for k in range(N):
        save_image(japanese_path / "画像 1" / f"{k}.png", noise(4, 4, seed=k))
        np.save(japanese_path / f"{k}.npy", rng.normal(size=(3,)))
    path = write_csv(
        japanese_path / "訓練 data.csv",
        ["v__1:b", "#note", "x:image", "v__0:a", "y:label;猫", "z", "w__0"],
        [
            [rng.normal(), 'a "b", c\nd', f".\\画像 1\\{k}.png", k, k % 3, f"{k}.npy", k * 0.1]
            for k in range(N)
        ],
        encoding="utf-8-sig",
        line_end="\r\n",
    )
    shapes = {"z": (3,), "x": (1, 4, 4), "v": (2,), "y": (1,), "w": (1,)}
    assert_as_training_sees(path, shapes)


def test_a_vector_of_files_is_stacked(tmp_path):
    grey_images(tmp_path, 4, 4)
    rows = [[f"{k}.png", f"{(k + 1) % N}.png"] for k in range(N)]
    path = write_csv(tmp_path / "x.csv", ["x__0", "x__1"], rows)
    assert_as_training_sees(path, {"x": (2, 1, 4, 4)})


@pytest.mark.parametrize("absolute", [False, True])
def test_paths_are_resolved_from_the_folder_of_the_csv(tmp_path, monkeypatch, absolute):
    (tmp_path / "lists").mkdir()
    for k in range(N):
        save_image(tmp_path / "pictures" / f"{k}.png", noise(4, 4, seed=k))
    start = str(tmp_path / "pictures") if absolute else "../pictures"
    rows = [[f"{start}/{k}.png"] for k in range(N)]
    write_csv(tmp_path / "lists" / "x.csv", ["x"], rows)
    monkeypatch.chdir(tmp_path)
    assert_as_training_sees(Path("lists/x.csv"), {"x": (1, 4, 4)})


def test_axes_of_length_one_are_repeated_as_in_training(tmp_path):
    grey_images(tmp_path, 4, 4)
    path = write_csv(tmp_path / "x.csv", ["x", "y"], [[f"{k}.png", k] for k in range(N)])
    assert_as_training_sees(path, {"x": (3, 4, 4), "y": (6,)})


def test_a_variable_may_mix_images_with_arrays(tmp_path):
    cells = []
    for k in range(N):
        if k % 2:
            np.save(tmp_path / f"{k}.npy", noise(1, 4, 4, seed=k))
        else:
            save_image(tmp_path / f"{k}.png", noise(4, 4, seed=k))
        cells.append(f"{k}.npy" if k % 2 else f"{k}.png")
    path = write_csv(tmp_path / "x.csv", ["x"], [[cell] for cell in cells])
    assert_as_training_sees(path, {"x": (1, 4, 4)})


@pytest.mark.parametrize("rows", [[-1], [5], [0, 5]])
def test_a_row_that_is_not_there_is_no_row_at_all(tmp_path, rows):
    path = write_csv(tmp_path / "x.csv", ["y"], [[k] for k in range(5)])
    dataset = open_dataset(path, [ColumnSpec("y", (1,))])
    with pytest.raises(IndexError, match=r"row numbers must lie in 0\.\.4"):
        dataset.batch(np.array(rows))
