"""The trained models of a run, held against new volumes: for research only, and never learning from them."""

from mflib.predict.external import external
from mflib.predict.models import Models, load
from mflib.predict.results import Applicability, Assessment, External, PredictError, Result, Verdict
from mflib.predict.table import table, text, write
from mflib.predict.volumes import read_volumes

__all__ = [
    "Applicability",
    "Assessment",
    "External",
    "Models",
    "PredictError",
    "Result",
    "Verdict",
    "external",
    "load",
    "read_volumes",
    "table",
    "text",
    "write",
]
