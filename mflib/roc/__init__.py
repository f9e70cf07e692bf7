"""ROC statistics for independent and for clustered cases: arrays in, numbers out, nothing of the study."""

from mflib.roc.area import auc_covariance, auc_interval, fold_mean
from mflib.roc.cases import Floats, RocError, check, check_level
from mflib.roc.comparison import Joint, Unpaired, compare, joint, unpaired
from mflib.roc.curves import PartialArea, curve, partial_auc, sensitivity_at, specificity_at
from mflib.roc.permutation import Venkatraman, venkatraman
from mflib.roc.power import hanley_mcneil, power_one, power_two, sample_size_one, sample_size_two
from mflib.roc.resampling import Bootstrap, bootstrap_interval, patient_weights, weighted_auc

__all__ = [
    "Bootstrap",
    "Floats",
    "Joint",
    "PartialArea",
    "RocError",
    "Unpaired",
    "Venkatraman",
    "auc_covariance",
    "auc_interval",
    "bootstrap_interval",
    "check",
    "check_level",
    "compare",
    "curve",
    "fold_mean",
    "hanley_mcneil",
    "joint",
    "partial_auc",
    "patient_weights",
    "power_one",
    "power_two",
    "sample_size_one",
    "sample_size_two",
    "sensitivity_at",
    "specificity_at",
    "unpaired",
    "venkatraman",
    "weighted_auc",
]
