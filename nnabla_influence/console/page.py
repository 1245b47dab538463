"""The review page beside a ranking, so that deciding needs nothing but a browser."""

from __future__ import annotations

from pathlib import Path

from nnabla_influence.console.dialog import say
from nnabla_influence.errors import InfluenceError, OutputError

_MARK = b'id="review-data"'


def write_page_of(ranking: str | Path, page: Path) -> bool:
    """Write the review page of a ranking; where that fails, say why: the ranking is as good.

    Nobody chose its name, so it only ever replaces a page of a ranking.

    Returns:
        Whether it was written.
    """
    from nnabla_influence.progress import ConsoleProgress
    from nnabla_influence.review.page import check_outputs, write_page
    from nnabla_influence.review.reviewed import read_reviewed

    try:
        check_outputs(ranking, page=page)
        _check_own(page)
        written = write_page(read_reviewed(ranking), page, progress=ConsoleProgress())
    except (InfluenceError, OSError) as error:
        say(f"No review page was written: {error}")
        return False
    if written.missing:
        say(f"{written.missing} pictures are not on the review page: {written.first_problem}")
    return True


def _check_own(page: Path) -> None:
    """Refuse to replace a file that is no review page."""
    if page.is_file() and page.stat().st_size and _MARK not in page.read_bytes():
        raise OutputError(
            f"{page}: is there already, and no review page; move it, or choose another name for the"
            " ranking"
        )
