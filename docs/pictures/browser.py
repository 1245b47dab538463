"""A browser to take screenshots with, and small PNG files of them."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

from looks import FOLDER
from PIL import Image, ImageOps
from playwright.sync_api import Browser, sync_playwright

__all__ = ["MissingProgramError", "browser", "program", "save"]

_COLOURS = 128
_FRAME = (200, 200, 200)


class MissingProgramError(Exception):
    """A program that takes a picture is not installed; says which."""


def program(*names: str, package: str) -> str:
    """Return the path of the first of the programs that is installed.

    Raises:
        MissingProgramError: There is none.
    """
    for name in names:
        if found := shutil.which(name):
            return found
    raise MissingProgramError(f"needs {names[0]}: apt-get install {package}")


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Yield a headless Chromium."""
    path = program("chromium", "chromium-browser", "google-chrome", package="chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


def save(png: bytes | Image.Image, name: str) -> None:
    """Write a picture to docs/images, with a thin frame, and few colours, so that it is small."""
    image = Image.open(io.BytesIO(png)) if isinstance(png, bytes) else png
    framed = ImageOps.expand(image.convert("RGB"), 1, _FRAME)
    few = framed.quantize(_COLOURS, dither=Image.Dither.NONE)
    path = FOLDER / name
    few.save(path, optimize=True)
    print(f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
