"""ROC statistics for independent and for clustered cases: arrays in, numbers out, nothing of the study."""

from mflib.stats.roc.area import auc_covariance, auc_interval, compare, fold_mean, joint, normal_test
from mflib.stats.roc.cases import (
    check_level,
    curve,
    patient_weights,
    percentiles,
    resampled_sums,
    sensitivity_at,
    specificity_at,
    z_value,
)
from mflib.stats.roc.power import Question
