"""Performance of every model, from the predictions table alone.

A predictions table has one row per segment and model: KEY, ``model``, ``split``, ``repeat``, ``fold``, ``y_true``,
``score``, ``threshold``. A segment is called positive where ``score >= threshold``. A table from outside goes through
``validate`` once, where it enters; nothing here looks for its faults again.
"""

from mflib.stats.performance.decisions import (
    PREVALENCES,
    decision_curve,
    operating_points,
    over_thresholds,
    predictive_values,
)
from mflib.stats.performance.differences import (
    FOLDS,
    against,
    both_ways,
    chance_in_words,
    comparison,
    in_words,
    metric_differences,
    several,
    transport,
    variants,
    variants_for_reader,
    verdict,
)
from mflib.stats.performance.metrics import (
    chance,
    comparison_table,
    fold_mean_auc,
    metrics_per_fold,
    paper_table,
    summary,
)
from mflib.stats.performance.predictions import by_model, estimate, models, p_value, side_by_side, validate
from mflib.stats.performance.probability import UPDATES, calibrated, calibration, calibration_curve, recalibrate, thin
from mflib.stats.performance.subgroups import by_grade, mistakes, subgroups
