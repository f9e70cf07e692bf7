"""Helpers of the multifidus study: six wings, loaded when they are used, and three names for a notebook."""

from __future__ import annotations

from importlib import import_module
from typing import Any

WINGS = ("base", "stats", "data", "models", "show", "study")
FACE = {"Study": "study.lab", "view": "show.viewer", "annotate": "data.annotation"}


def __getattr__(name: str) -> Any:
    """A wing, or one of the three names that a notebook needs, imported when it is asked for."""
    if name in WINGS:
        return import_module(f"mflib.{name}")
    if name in FACE:
        return getattr(import_module(f"mflib.{FACE[name]}"), name)
    raise AttributeError(f"module 'mflib' has no attribute {name!r}")
