"""The files that a removal curve leaves for its reader."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nnabla_influence.retraining.detection_table import DetectionResult, detection_frame
from nnabla_influence.retraining.figures import write_figures
from nnabla_influence.retraining.lines import summary_lines
from nnabla_influence.retraining.markdown import summary_markdown
from nnabla_influence.retraining.summary import summarize
from nnabla_influence.retraining.tables import CellResult, results_frame, write_table

__all__ = ["summary_lines", "summary_markdown", "write_results"]

RESULTS, SUMMARY, DETECTION = "results.csv", "summary.csv", "detection.csv"
TABLE, FIGURES = "table.md", "figures"


def write_results(
    folder: Path,
    cells: Iterable[CellResult],
    detections: Iterable[DetectionResult] = (),
    title: str = "Removal curves",
) -> None:
    """Write tables and figures into an existing folder, which the caller moves to its place.

    All but the seconds in results.csv depends on the trainings alone, not on who finished when.

    Args:
        folder: An existing folder.
        cells: Every training.
        detections: What the rankings found of flipped labels; none where flips are not known.
        title: What stands over the figures.

    Raises:
        OSError: It cannot be written.
    """
    frame = results_frame(cells)
    summary = summarize(frame)
    detection = detection_frame(detections)
    write_table(folder / RESULTS, frame)
    write_table(folder / SUMMARY, summary)
    if len(detection):
        write_table(folder / DETECTION, detection)
    markdown = summary_markdown(summary, detection)
    (folder / TABLE).write_bytes(markdown.encode())
    (folder / FIGURES).mkdir(exist_ok=True)
    write_figures(folder / FIGURES, summary, detection, title)
