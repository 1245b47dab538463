"""Where a page or a workbook may be written: never over what is read."""

from __future__ import annotations

import os

from nnabla_influence.errors import OutputError
from nnabla_influence.files import PathLike, check_output

_PAGE, _WORKBOOK = (".html", ".htm"), (".xlsx",)


def check_outputs(
    ranking: PathLike,
    *,
    page: PathLike | None = None,
    workbook: PathLike | None = None,
) -> None:
    """Check, before the work begins, that the outputs can be written and harm nothing.

    Which CSV the ranking is of, and which files a reader may have beside it, is not known here. But
    none of them is a page or a workbook, and what is written must have such a name: so a training
    CSV is safe, also behind a link.

    Raises:
        OutputError: An output is the ranking, has another kind of name, or cannot be written.
    """
    for output, suffixes, kind in (
        (page, _PAGE, "a page"),
        (workbook, _WORKBOOK, "a workbook"),
    ):
        if output is None:
            continue
        check_output(output, [ranking])
        names = (os.fspath(output), os.path.realpath(output))
        if not all(name.lower().endswith(suffixes) for name in names):
            raise OutputError(
                f"{output}: does not end with {suffixes[0]}, by which programs know {kind}, and may"
                f" be the training CSV or other data; choose a path that ends with {suffixes[0]}"
            )
