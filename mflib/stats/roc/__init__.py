"""ROC statistics for independent and for clustered cases: arrays in, numbers out, nothing of the study."""

from mflib.stats.roc.area import auc_covariance, auc_interval, compare, fold_mean, joint, normal_test
from mflib.stats.roc.cases import (
    CONFIDENCE,
    REACH,
    curve,
    percentiles,
    resampled_sums,
    threshold_at,
)
from mflib.stats.roc.power import Question
