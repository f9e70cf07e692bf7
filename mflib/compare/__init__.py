"""Anybody's predictions, compared: the command ``mflib compare``."""

from mflib.compare.output import as_json, show, write
from mflib.compare.reading import CompareError, read
from mflib.compare.tables import Comparison, run

__all__ = ["CompareError", "Comparison", "as_json", "read", "run", "show", "write"]
