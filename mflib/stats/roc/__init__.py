"""ROC statistics for independent and for clustered cases: arrays in, numbers out, nothing of the study."""

from mflib.stats.roc.area import Joint, Unpaired, auc_covariance, auc_interval, compare, fold_mean, joint, unpaired
from mflib.stats.roc.cases import Floats, check, check_level, patient_weights
from mflib.stats.roc.curves import curve, sensitivity_at, specificity_at
from mflib.stats.roc.power import hanley_mcneil, power_one, power_two, sample_size_one, sample_size_two

__all__ = [
    "Floats",
    "Joint",
    "Unpaired",
    "auc_covariance",
    "auc_interval",
    "check",
    "check_level",
    "compare",
    "curve",
    "fold_mean",
    "hanley_mcneil",
    "joint",
    "patient_weights",
    "power_one",
    "power_two",
    "sample_size_one",
    "sample_size_two",
    "sensitivity_at",
    "specificity_at",
    "unpaired",
]
