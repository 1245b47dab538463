"""Where a page or a workbook may be written: never over what is read."""

from __future__ import annotations

import os

from nnabla_influence.errors import OutputError
from nnabla_influence.files import PathLike, check_output

_PAGE, _WORKBOOK = (".html", ".htm"), (".xlsx",)


def check_outputs(
    ranking: PathLike, *, page: PathLike | None = None, workbook: PathLike | None = None
) -> None:
    """Check, before the work begins, that the outputs can be written and overwrite no data.

    Which CSV the ranking is of is not known here. But no CSV has the name of a page or a workbook,
    which the outputs must have, also where they are links.

    Raises:
        OutputError: An output is the ranking, has another kind of name, or cannot be written.
    """
    for output, suffixes in ((page, _PAGE), (workbook, _WORKBOOK)):
        if output is None:
            continue
        check_output(output, [ranking])
        names = (os.fspath(output), os.path.realpath(output))
        if not all(name.lower().endswith(suffixes) for name in names):
            raise OutputError(
                f"{output}: must end with {suffixes[0]}, so that no dataset is overwritten; choose"
                " another output path"
            )
