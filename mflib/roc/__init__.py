"""ROC statistics for independent and for clustered cases: arrays in, numbers out, nothing of the study."""

from mflib.roc.area import auc_covariance, auc_interval, fold_mean
from mflib.roc.cases import Floats, RocError, check, check_level
from mflib.roc.comparison import Joint, Unpaired, compare, joint, unpaired
from mflib.roc.curves import curve, sensitivity_at, specificity_at
from mflib.roc.power import hanley_mcneil, power_one, power_two, sample_size_one, sample_size_two
from mflib.roc.resampling import patient_weights

__all__ = [
    "Floats",
    "Joint",
    "RocError",
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
