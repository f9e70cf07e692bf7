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
from mflib.stats.roc.power import power_one, power_two, sample_size_one, sample_size_two

__all__ = [
    "auc_covariance",
    "auc_interval",
    "check_level",
    "compare",
    "curve",
    "fold_mean",
    "joint",
    "normal_test",
    "patient_weights",
    "percentiles",
    "power_one",
    "power_two",
    "resampled_sums",
    "sample_size_one",
    "sample_size_two",
    "sensitivity_at",
    "specificity_at",
    "z_value",
]
