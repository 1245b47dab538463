"""The ranking: a score for every row, and the CSV that shows the most harmful row first."""

from nnabla_influence.ranking.groups import Group, Groups, values_of
from nnabla_influence.ranking.ranking import RankedRow, Ranking, read_ranking
from nnabla_influence.ranking.ranking_csv import RESULT_COLUMNS, check_columns, is_ranking
from nnabla_influence.ranking.scores import RELIABLE, ROUGH, Orders, Scores, Verdict

__all__ = [
    "RELIABLE",
    "RESULT_COLUMNS",
    "ROUGH",
    "Group",
    "Groups",
    "Orders",
    "RankedRow",
    "Ranking",
    "Scores",
    "Verdict",
    "check_columns",
    "is_ranking",
    "read_ranking",
    "values_of",
]
