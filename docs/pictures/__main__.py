"""Draw every picture that the docs show, from what the demo left and from a small training.

Run ``uv run nnabla-influence demo`` first, then ``uv run python docs/pictures [DEMO]``, where DEMO
is the demo's folder.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from meaning import draw_meaning
from ranking import draw_ranking


def main(demo: Path) -> None:
    """Draw into docs/images."""
    draw_ranking(demo)
    with tempfile.TemporaryDirectory() as folder:
        draw_meaning(Path(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
