"""Performance of every model, from the predictions table alone.

A predictions table has one row per segment and model: KEY, ``model``, ``split``, ``repeat``, ``fold``, ``y_true``,
``score``, ``threshold``. A segment is called positive where ``score >= threshold``. A table from outside goes through
``validate`` once, where it enters; nothing here looks for its faults again.
"""

from mflib.stats.performance.decisions import decision_curve, operating_points, predictive_values
from mflib.stats.performance.differences import (
    both_ways,
    comparison,
    in_words,
    mcnemar,
    paired_areas,
    several,
    transport,
)
from mflib.stats.performance.metrics import comparison_table, fold_mean_auc, metrics_per_fold, paper_table, summary
from mflib.stats.performance.predictions import by_model, estimate, models, p_value, side_by_side, validate
from mflib.stats.performance.probability import UPDATES, calibration, calibration_curve, recalibrate
from mflib.stats.performance.subgroups import by_grade, mistakes, subgroups
