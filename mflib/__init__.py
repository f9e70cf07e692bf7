"""Helpers of the multifidus study; in a notebook, ``mflib.view`` and ``mflib.annotate`` are at hand."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """The two tools for a notebook, imported when they are asked for."""
    if name == "view":
        from mflib.viewer import view

        return view
    if name == "annotate":
        from mflib.annotation import annotate

        return annotate
    raise AttributeError(f"module 'mflib' has no attribute {name!r}")
