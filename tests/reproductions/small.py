"""A small experiment of Suzuki et al., and how its files are read."""

from __future__ import annotations

import csv
import dataclasses

from reproductions.suzuki2021 import experiments

SMALL = dataclasses.replace(
    experiments.SMALL[0],
    n_training=60,
    n_validation=40,
    n_test=50,
    flipped=0.2,
    epochs=2,
    removed=(12,),
    rankings=("final", "random"),
    seeds=2,
    protocols=("all",),
)


def read_rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
