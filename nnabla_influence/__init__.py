"""SGD-influence for nnabla: which training examples make the model worse.

The names below are loaded when they are first used, so that asking for help stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnabla_influence.advice.advise import advise
    from nnabla_influence.advice.result import Advice
    from nnabla_influence.advice.several_trainings import score_trainings
    from nnabla_influence.cleansing import cleanse
    from nnabla_influence.errors import InfluenceError
    from nnabla_influence.explanation.explaining import explain
    from nnabla_influence.explanation.explanation import Explanation
    from nnabla_influence.nnabla_cli.training import train
    from nnabla_influence.options import (
        AdviceOptions,
        AttributionOptions,
        CurveOptions,
        Options,
        RecorderOptions,
        Sample,
        ValidationOptions,
    )
    from nnabla_influence.progress import ConsoleProgress, SilentProgress, TerminalProgress
    from nnabla_influence.ranking import Ranking, read_ranking
    from nnabla_influence.retraining.removal_curve import curve
    from nnabla_influence.retraining.smoothness import quick_check
    from nnabla_influence.retraining.validation import validate
    from nnabla_influence.runs.recorder import Recorder
    from nnabla_influence.scoring import score

__version__ = "0.1.0"

__all__ = [
    "Advice",
    "AdviceOptions",
    "AttributionOptions",
    "ConsoleProgress",
    "CurveOptions",
    "Explanation",
    "InfluenceError",
    "Options",
    "Ranking",
    "Recorder",
    "RecorderOptions",
    "Sample",
    "SilentProgress",
    "TerminalProgress",
    "ValidationOptions",
    "advise",
    "cleanse",
    "curve",
    "explain",
    "quick_check",
    "read_ranking",
    "score",
    "score_trainings",
    "train",
    "validate",
]

_PACKAGES = {
    "Advice": "advice",
    "AdviceOptions": "options",
    "AttributionOptions": "options",
    "ConsoleProgress": "progress",
    "CurveOptions": "options",
    "Explanation": "explanation",
    "InfluenceError": "errors",
    "Options": "options",
    "Ranking": "ranking",
    "Recorder": "runs.recorder",
    "RecorderOptions": "options",
    "Sample": "options",
    "SilentProgress": "progress",
    "TerminalProgress": "progress",
    "ValidationOptions": "options",
    "advise": "advice",
    "cleanse": "cleansing",
    "curve": "retraining.removal_curve",
    "explain": "explanation",
    "quick_check": "retraining.smoothness",
    "read_ranking": "ranking",
    "score": "scoring",
    "score_trainings": "advice.several_trainings",
    "train": "nnabla_cli.training",
    "validate": "retraining.validation",
}


def __getattr__(name: str) -> Any:
    if name not in _PACKAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PACKAGES[name]}"), name)
