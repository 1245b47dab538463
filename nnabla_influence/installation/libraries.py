"""What the plugins need of the Console's own Python, and what of it can be seen from outside."""

from __future__ import annotations

import re
from pathlib import Path

from nnabla_influence.installation.places import WINDOWS, Place

NEEDED = {"h5py": "h5py", "nnabla": "nnabla", "numpy": "numpy", "pillow": "PIL", "tqdm": "tqdm"}
"""The libraries, and the folders that hold them."""
_SITES = ("Lib/site-packages", "*/Lib/site-packages", "*/*/Lib/site-packages")


def library_lines(place: Place) -> list[str]:
    """Return what is to be said about the Console's libraries before its plugins are installed."""
    names = ", ".join(NEEDED)
    said = [f"The Console's own Python brings what the plugins import: {names}."]
    if place.kind == WINDOWS:
        libs = place.root.parent
        sites = [site for pattern in _SITES for site in sorted(libs.glob(pattern))]
        for site in sites:
            if (site / "nnabla").is_dir():
                said += _about(site, libs)
    return said


def _about(site: Path, libs: Path) -> list[str]:
    home = site.parent.parent
    where = home.relative_to(libs.parent).as_posix()
    missing = [name for name, folder in NEEDED.items() if not (site / folder).is_dir()]
    versions = [
        found.group(1)
        for entry in site.glob("nnabla-*.dist-info")
        if (found := re.fullmatch(r"nnabla-([\d.]+)\.dist-info", entry.name))
    ]
    pythons = [
        (int(found.group(1)), int(found.group(2)))
        for entry in home.glob("python3*.dll")
        if (found := re.fullmatch(r"python(3)(\d+)\.dll", entry.name))
    ]
    lines = []
    if missing:
        lines.append(f"Note: {where} has no {', '.join(missing)}; the plugins will not run there.")
    if pythons and pythons[0] < (3, 9):
        version = ".".join(map(str, pythons[0]))
        lines.append(
            f"Note: {where} is Python {version}; the plugins show their dialog there, but need 3.9"
            " or 3.10 to run."
        )
    if versions and not lines:
        lines.append(f"Found there: nnabla {versions[0]}, in {where}.")
    return lines
