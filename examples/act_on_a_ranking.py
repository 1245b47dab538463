"""Act on a ranking: read it, decide on its most harmful rows, write the cleansed dataset CSV.

Run ``uv run python examples/act_on_a_ranking.py RANKING FOLDER``; RANKING is a CSV that ``score``
wrote for a classifier, such as the demo's ``demo/influence.csv``.
"""

from __future__ import annotations

import csv
import sys
from itertools import islice
from pathlib import Path

from nnabla_influence import cleanse, read_ranking


def main(path: Path, folder: Path) -> None:
    """Relabel the rows of which the network predicts another class, remove the other harmful ones.

    This is a rule for an example: look at the rows (``nnabla-influence review``) before you trust
    one with your data.
    """
    ranking = read_ranking(path)
    if ranking.verdict is not None:
        print(ranking.verdict.sentence)
    columns = [column.cell for column in ranking.dataset.columns]
    decisions = folder / "decisions.csv"
    folder.mkdir(parents=True, exist_ok=True)
    with decisions.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["datasource_index", "decision", "label"])
        for row in islice(ranking, 20):  # the most harmful row comes first
            cells = dict(zip(columns, ranking.cells(row.row)))
            if row.predicted is not None and row.predicted != int(cells["y:label"]):
                writer.writerow([row.datasource_index, "relabel", int(row.predicted)])
            else:
                writer.writerow([row.datasource_index, "remove", ""])

    cleansed = cleanse(path, output=folder / "clean.csv", decisions=decisions)
    print("\n".join(cleansed.summary()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
