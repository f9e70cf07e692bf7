"""Performance of every model, from the predictions table alone.

A predictions table has one row per segment and model: KEY, ``model``, ``split``, ``repeat``, ``fold``, ``y_true``,
``score``, ``threshold``. A segment is called positive where ``score >= threshold``.
"""

from mflib.stats.performance.decisions import TREAT_ALL, TREAT_NONE, decision_curve, operating_points, predictive_values
from mflib.stats.performance.differences import (
    PAPER_ORDER,
    both_ways,
    comparison,
    comparison_table,
    in_words,
    mcnemar,
    paper_table,
    several,
)
from mflib.stats.performance.external import UPDATES, Recalibrated, paired_areas, recalibrate, transport
from mflib.stats.performance.metrics import (
    METRICS,
    PROPORTIONS,
    fold_mean_auc,
    metrics_per_fold,
    summary,
    youden_threshold,
)
from mflib.stats.performance.predictions import (
    COLUMNS,
    RUN,
    by_model,
    estimate,
    models,
    p_value,
    side_by_side,
    validate,
)
from mflib.stats.performance.probability import calibration, calibration_curve
from mflib.stats.performance.subgroups import by_grade, mistakes, subgroups

__all__ = [
    "COLUMNS",
    "METRICS",
    "PAPER_ORDER",
    "PROPORTIONS",
    "RUN",
    "TREAT_ALL",
    "TREAT_NONE",
    "UPDATES",
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
