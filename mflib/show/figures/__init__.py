"""Every plot of the study: tables or arrays in, a matplotlib ``Figure`` out.

The figures do not belong to pyplot, so none stays open. In a notebook they show after ``%matplotlib inline``.
"""

# ruff: noqa: F403, F405 -- the names are listed once, here, and not in each file again

from mflib.show.figures.cohort import *
from mflib.show.figures.models import *
from mflib.show.figures.performance import *
from mflib.show.figures.pitfalls import *
from mflib.show.figures.saliency import *
from mflib.show.figures.texture import *

__all__ = [
    "auc_forest", "bland_altman", "ceiling_over_kappa", "co_occurrence",
    "confusion_matrices", "cut_open", "distances", "feature_by_grade", "flow_of_patients",
    "fold_composition", "glcm", "importance", "intensity_drift",
    "nakagami_fit", "network_inputs", "null_distribution", "out_of_range", "outlined",
    "p_by_correlation", "predictive_values_over_prevalence", "quality_overview", "reader_table",
    "recalibrated_curves", "repeatability", "right_and_wrong", "roc_curves", "saliency_checks", "saliency_depth",
    "saliency_gallery", "subgroup_forest", "three_planes", "transported_roc", "under_gain",
    "volume_thumbnails",
]  # fmt: skip
