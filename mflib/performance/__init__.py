"""Performance of every model, from the predictions table alone.

A predictions table has one row per segment and model: KEY, ``model``, ``split``, ``repeat``, ``fold``, ``y_true``,
``score``, ``threshold``. A segment is called positive where ``score >= threshold``.
"""

from mflib.performance.decision import TREAT_ALL, TREAT_NONE, decision_curve
from mflib.performance.differences import comparison, mcnemar, several
from mflib.performance.external import paired_areas, transport
from mflib.performance.grades import by_grade
from mflib.performance.metrics import METRICS, fold_mean_auc, metrics_per_fold, summary, youden_threshold
from mflib.performance.mistake import mistakes
from mflib.performance.naive_and_clustered import both_ways, in_words
from mflib.performance.paper import PAPER_ORDER, comparison_table, paper_table
from mflib.performance.predictive import operating_points, predictive_values
from mflib.performance.probability import calibration, calibration_curve
from mflib.performance.proportions import PROPORTIONS
from mflib.performance.readable import by_model, estimate, p_value, side_by_side
from mflib.performance.recalibration import UPDATES, Recalibrated, recalibrate
from mflib.performance.subgroup import subgroups
from mflib.performance.table import COLUMNS, LABELS, RUN, PredictionsError, models, validate
from mflib.volume import KEY, LEVELS, SIDES

__all__ = [
    "COLUMNS",
    "KEY",
    "LABELS",
    "LEVELS",
    "METRICS",
    "PAPER_ORDER",
    "PROPORTIONS",
    "RUN",
    "SIDES",
    "TREAT_ALL",
    "TREAT_NONE",
    "UPDATES",
    "PredictionsError",
    "Recalibrated",
    "both_ways",
    "by_grade",
    "by_model",
    "calibration",
    "calibration_curve",
    "comparison",
    "comparison_table",
    "decision_curve",
    "estimate",
    "fold_mean_auc",
    "in_words",
    "mcnemar",
    "metrics_per_fold",
    "mistakes",
    "models",
    "operating_points",
    "p_value",
    "paired_areas",
    "paper_table",
    "predictive_values",
    "recalibrate",
    "several",
    "side_by_side",
    "subgroups",
    "summary",
    "transport",
    "validate",
    "youden_threshold",
]
