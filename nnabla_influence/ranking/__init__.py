"""The ranking: a score for every row, and the CSV that shows the most harmful row first."""

from nnabla_influence.ranking.ranking import RankedRow, Ranking
from nnabla_influence.ranking.reading import read_ranking
from nnabla_influence.ranking.scores import Orders, Scores
from nnabla_influence.ranking.verdict import RELIABLE, ROUGH, Verdict
from nnabla_influence.ranking.writing import RESULT_COLUMNS, check_columns, is_ranking

__all__ = [
    "RELIABLE",
    "RESULT_COLUMNS",
    "ROUGH",
    "Orders",
    "RankedRow",
    "Ranking",
    "Scores",
    "Verdict",
    "check_columns",
    "is_ranking",
    "read_ranking",
]
