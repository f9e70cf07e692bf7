"""The trained models of a run, held against new volumes: for research only, and never learning from them."""

from mflib.predict.external import external
from mflib.predict.many import assess_all, failed
from mflib.predict.models import Models, load
from mflib.predict.results import Applicability, Assessment, External, PredictError, Result, Verdict
from mflib.predict.table import table, text, write

__all__ = [
    "Applicability",
    "Assessment",
    "External",
    "Models",
    "PredictError",
    "Result",
    "Verdict",
    "assess_all",
    "external",
    "failed",
    "load",
    "table",
    "text",
    "write",
]
