"""Make every picture of the docs that needs no Console.

Run ``uv run nnabla-influence demo`` first, then ``uv run python docs/pictures [DEMO]``, where DEMO
is the demo's folder. The screenshots need Chromium and LibreOffice; where one is missing, a line
says so, and the picture stays as it is. ``desktop.py`` makes those of a running NNCD.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from browser import MissingProgramError
from meaning import draw_meaning
from ranking import draw_ranking
from screenshots import draw_review_pages, draw_workbook


def main(demo: Path) -> None:
    """Draw into docs/images."""
    draw_ranking(demo)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = draw_meaning(folder)
        for draw in (
            lambda: draw_review_pages(demo, table, folder),
            lambda: draw_workbook(demo, folder),
        ):
            try:
                draw()
            except MissingProgramError as error:
                print(error, file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
