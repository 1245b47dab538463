"""Where NNCD shows a result: one picture, and a folder with everything else.

NNCD makes an empty file whose extension is that of the last input, shows whichever file of its
folder begins with the result's name, and asks again as long as that is empty. It can show a
picture, and no CSV. So the picture comes first, then the empty file goes; whatever else there is
lies one folder deeper, where NNCD does not look.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from nnabla_influence.errors import OutputError
from nnabla_influence.files import replacing_file, replacing_folder

if TYPE_CHECKING:
    from PIL import Image

_OTHER_NAME = "files"
_LOG = "plugin_log.txt"


class Result:
    """A result, under the name that the user gave it.

    Used as a context: at its end the empty file is gone in any case.

    Args:
        placeholder: What NNCD passed as the output.
    """

    def __init__(self, placeholder: Path):
        self.name = placeholder.stem
        self.folder = placeholder.parent
        self.picture = self.folder / f"{self.name}.png"
        self._placeholder = placeholder
        self._staged: Path | None = None

    def __enter__(self) -> Result:
        """Remove the picture of an earlier result of this name."""
        if self.picture != self._placeholder and self._is_shown():
            with contextlib.suppress(OSError):
                self.picture.unlink()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        """Remove the empty file."""
        self.remove_unfinished()

    def check_name(self) -> None:
        """Refuse a name that NNCD lets through, but under which it would show another file.

        Raises:
            OutputError: It is such a name.
        """
        if not self._is_shown():
            raise OutputError(
                f"{self.name}: NNCD would show another file under this name of the result; choose"
                " another one"
            )

    def _is_shown(self) -> bool:
        return self.folder.name == self.name and not _LOG.startswith(self.name)

    @property
    def dataset_name(self) -> str:
        """What the result is called on the page Dataset, with the project's and the job's number.

        A dataset's name is unique there.
        """
        parts = self.folder.resolve().parts
        numbers = []
        if len(parts) > 6 and parts[-5] == "results" and parts[-3] == "plugins":
            numbers = [parts[-6], parts[-4]]
        return "-".join([re.sub(r"[^A-Za-z0-9_.-]", "_", self.name), *numbers])

    @property
    def plugins_folder(self) -> Path:
        """Where the job's results of all plugins lie."""
        return self.folder.parent.parent

    def sidecar(self, name: str) -> Path:
        """Return a folder beside the picture that NNCD does not take for the result."""
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
        """Put a picture in the place of the empty file."""
        from nnabla_influence.review.thumbnails import png_bytes

        with replacing_file(self.picture) as temporary:
            temporary.write_bytes(png_bytes(image))
        self._remove_placeholder()

    def show_failure(self, title: str, reason: str) -> None:
        """Show what went wrong: an empty file would look like a plugin that still runs."""
        from nnabla_influence.console.strip import message

        if self._is_shown():
            with contextlib.suppress(Exception):  # the log has it all the same
                here = f"{self.folder}{os.sep}"
                self.show(message(title, reason.replace(here, "")))

    def remove_unfinished(self) -> None:
        """Remove the empty file, and what has not become a result."""
        self._remove_placeholder()
        if self._staged is not None:
            shutil.rmtree(self._staged, ignore_errors=True)

    def _remove_placeholder(self) -> None:
        with contextlib.suppress(OSError):
            if os.path.getsize(self._placeholder) == 0:
                self._placeholder.unlink()
