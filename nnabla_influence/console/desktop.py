"""Where NNCD shows a result: one image, and a folder with all other files.

NNCD makes an empty file whose extension is that of the last input, and shows whichever file of its
folder begins with the result's name once that is not empty. It can show an image, but no CSV. So
the image is written first, then the empty file is removed; the other files lie one folder deeper,
where NNCD does not look.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nnabla_influence.errors import OutputError
from nnabla_influence.files import replacing_file, replacing_folder

if TYPE_CHECKING:
    from PIL import Image

_OTHER_NAME = "files"
_LOG = "plugin_log.txt"


class Result:
    """A result, under the name that the user gave it.

    Used as a context, at whose end the empty file is removed in any case.

    Args:
        placeholder: The empty file, which NNCD passed as the output.
    """

    def __init__(self, placeholder: Path):
        self.name = placeholder.stem
        self.folder = placeholder.parent
        self.picture = self.folder / f"{self.name}.png"
        self._placeholder = placeholder
        self._staged: Path | None = None

    def __enter__(self) -> Result:
        """Remove the image of an earlier result of this name."""
        if self.picture != self._placeholder and self._is_shown():
            with contextlib.suppress(OSError):
                self.picture.unlink()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the empty file."""
        self.remove_unfinished()

    def check_name(self) -> None:
        """Refuse a name that NNCD accepts, but for which it would show another file.

        Raises:
            OutputError: It is such a name.
        """
        if not self._is_shown():
            raise OutputError(f"{self.name}: NNCD would show another file; choose another name")

    def _is_shown(self) -> bool:
        return self.folder.name == self.name and not _LOG.startswith(self.name)

    @property
    def dataset_name(self) -> str:
        """The result's name on the page Dataset: unique, with the project's and job's numbers."""
        parts = self.folder.resolve().parts
        numbers = []
        if len(parts) > 6 and parts[-5] == "results" and parts[-3] == "plugins":
            numbers = [parts[-6], parts[-4]]
        return "-".join([re.sub(r"[^A-Za-z0-9_.-]", "_", self.name), *numbers])

    def sidecar(self, name: str) -> Path:
        """Return a folder beside the image that NNCD does not mistake for the result."""
        return self.folder / (_OTHER_NAME if name.startswith(self.name) else name)

    @contextlib.contextmanager
    def files(self, name: str) -> Iterator[Path]:
        """Yield a temporary folder that becomes the sidecar folder when the block succeeds.

        An earlier one of this name is replaced whole.
        """
        with replacing_folder(self.sidecar(name)) as staged:
            self._staged = staged
            yield staged
        self._staged = None

    def show(self, image: Image.Image) -> None:
        """Write the image that NNCD shows, then remove the empty file."""
        from nnabla_influence.review.thumbnails import png_bytes

        with replacing_file(self.picture) as temporary:
            temporary.write_bytes(png_bytes(image))
        self._remove_placeholder()

    def show_failure(self, title: str, reason: str) -> None:
        """Show why the plugin failed: an empty file would look like one that is still running."""
        from nnabla_influence.console.strip import message

        if self._is_shown():
            with contextlib.suppress(Exception):  # it is in the log, too
                self.show(message(title, reason.replace(f"{self.folder}{os.sep}", "")))

    def remove_unfinished(self) -> None:
        """Remove the empty file, and files that did not become a result."""
        self._remove_placeholder()
        if self._staged is not None:
            shutil.rmtree(self._staged, ignore_errors=True)

    def _remove_placeholder(self) -> None:
        with contextlib.suppress(OSError):
            if os.path.getsize(self._placeholder) == 0:
                self._placeholder.unlink()
