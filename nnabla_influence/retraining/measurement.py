"""Do the retrainings, going on where an interrupted call stood."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Optional

import numpy as np

from nnabla_influence.errors import RunError
from nnabla_influence.progress import Progress
from nnabla_influence.retraining.journal import Journal, Key
from nnabla_influence.retraining.retraining import Parameters, Retraining
from nnabla_influence.retraining.validation_result import Base


def measure(
    retraining: Retraining,
    final: Parameters,
    loss: Callable[[Parameters], float],
    left_out: Sequence[np.ndarray],
    progress: Progress,
    journal: Optional[Journal] = None,
    fingerprint: str = "",
    weights: Sequence[float] = (0.0,),
) -> tuple[Base, np.ndarray]:
    """Return the base, and how much the mean validation loss changes without each set of rows.

    The changes have the shape ``(len(weights), len(left_out))``.

    Args:
        retraining: Of the window.
        final: The run's parameters after the window.
        loss: Parameters to mean validation loss.
        left_out: Row numbers to leave out, one array a retraining.
        progress: Shows one unit a retraining.
        journal: Keeps what is finished; None for memory only.
        fingerprint: Of everything that the losses depend on.
        weights: What is left of the rows' gradients; 0 leaves them out.

    Raises:
        RunError: What the retraining ends with has other parameters than the run.
        ScoreError: A retraining diverges.
        OutputError: The journal is another validation's, or cannot be written.
    """
    base = _base(retraining, final, loss, progress)
    progress.say(base.words)
    done: dict[Key, float] = {}
    if journal is not None:
        # Where retraining reproduces, a machine that gives another loss must not go on.
        journal.open(fingerprint + (base.loss.hex() if base.noise == 0 else ""))
        done = journal.done
    keys = [(tuple(rows.tolist()), weight) for weight in weights for rows in left_out]
    missing = [key for key in dict.fromkeys(keys) if key not in done]
    if journal is not None and done:
        progress.say(f"{journal.folder}: holds {len(done)} finished retrainings; going on from it")
    try:
        with progress.stage("Retraining", len(missing), "retrainings") as stage:
            for key in missing:
                done[key] = retraining.without(*key)
                if journal is not None:
                    journal.add(key, done[key])
                stage.update()
    except KeyboardInterrupt:
        if journal is not None and done:
            progress.say(f"The same command goes on from {journal.folder}; remove it to begin anew")
        raise
    losses = np.array([done[key] for key in keys]).reshape(len(weights), len(left_out))
    return base, losses - base.loss


def _base(
    retraining: Retraining,
    final: Parameters,
    loss: Callable[[Parameters], float],
    progress: Progress,
) -> Base:
    redone = retraining.base(progress)
    difference = _difference(redone.parameters, final)
    if difference == 0:
        return Base(redone.loss, redone.loss, 0.0, 0.0)
    noise = abs(retraining.base(progress).loss - redone.loss)
    return Base(redone.loss, loss(final), difference, noise)


def _difference(parameters: Parameters, final: Parameters) -> float:
    largest = 0.0
    for name, value in parameters.items():
        if name not in final or final[name].shape != value.shape:
            raise RunError(
                f"the run's final.h5 holds no parameter {name!r} of shape {value.shape}, which the"
                " network has; give the model file that the run was trained with"
            )
        if value.tobytes() != final[name].tobytes():
            # At least the smallest number: -0.0 and 0.0 differ too.
            distance = float(np.abs(value.astype(np.float64) - final[name]).max())
            largest = max(largest, distance, float(np.finfo(np.float64).tiny))
    return largest
