"""Change a recorded run on purpose."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

from nnabla_influence.runs.run_settings import read_settings, write_settings


def with_new_checksums(folder: Path) -> None:
    """Let a run's checksums fit its files, after a test has changed these."""
    write_settings(folder / "run.json", read_settings(folder / "run.json"))
    path = folder / "checkpoints" / "layout.json"
    if path.is_file():
        values = json.loads(path.read_text())
        del values["checksum"]
        values["checksums"] = [
            zlib.crc32((path.parent / f"{step}.npy").read_bytes()) for step, _ in values["moments"]
        ]
        # By its own definition: a checksum of the JSON text of all else.
        checksum = zlib.crc32(json.dumps(values).encode("utf-8"))
        path.write_text(json.dumps({**values, "checksum": checksum}))


def as_of_version_0_1_0(folder: Path) -> None:
    """Take away from a run what that version did not write."""
    path = folder / "run.json"
    values = json.loads(path.read_text())
    for name in ("checksums", "network_functions", "fed"):
        values.pop(name, None)
    path.write_text(json.dumps(values))
    (folder / "contents.json").unlink(missing_ok=True)
    layout = folder / "checkpoints" / "layout.json"
    if layout.is_file():
        values = json.loads(layout.read_text())
        del values["checksum"], values["checksums"]
        layout.write_text(json.dumps(values))


def flipped(path: Path, bit: int) -> None:
    """Flip a bit of a file; counted from its end where it is negative."""
    content = bytearray(path.read_bytes())
    bit %= 8 * len(content)
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
