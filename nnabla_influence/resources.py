"""The folders of plugins and network definitions, in a checkout or an installed package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def plugins_folder() -> Path:
    """Return the folder that holds the Console's plugins."""
    return _either("plugins")


def network_defs_folder() -> Path:
    """Return the folder that holds the network definitions."""
    return _either("network_defs")


def _either(name: str) -> Path:
    installed = _PACKAGE / f"_{name}"
    return installed if installed.is_dir() else _PACKAGE.parent / name
