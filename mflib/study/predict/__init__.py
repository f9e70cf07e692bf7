"""The trained models of a run, held against new volumes: for research only, and never learning from them."""

from mflib.study.predict.external import score_cohort
from mflib.study.predict.models import Models, load
from mflib.study.predict.results import Applicability, Assessment, External, ModelResult, Verdict
from mflib.study.predict.volumes import assess_all, failed, table, text, write

__all__ = [
    "Applicability",
    "Assessment",
    "External",
    "ModelResult",
    "Models",
    "Verdict",
    "assess_all",
    "failed",
    "load",
    "score_cohort",
    "table",
    "text",
    "write",
]
