"""`nnabla_influence.score`, on the CPU."""

from __future__ import annotations

import functools

import nnabla_influence

score = functools.partial(nnabla_influence.score, device="cpu")
