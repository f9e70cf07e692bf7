"""Every plot of the study: tables or arrays in, a matplotlib ``Figure`` out.

The figures do not belong to pyplot, so none stays open. In a notebook they show after ``%matplotlib inline``.
"""

from mflib.show.figures.cohort import (
    bland_altman,
    bmi_vas,
    flow_of_patients,
    grades_overview,
    intensity_drift,
    power_curve,
    quality_overview,
    reader_table,
    volume_thumbnails,
)
from mflib.show.figures.models import (
    auc_forest,
    choices,
    importance,
    learning_curves,
    network_comparisons,
    roc_curves,
    score_by_grade,
)
from mflib.show.figures.performance import (
    calibration_curves,
    decision_curves,
    distances,
    out_of_range,
    recalibrated_curves,
    subgroup_forest,
    transported_roc,
)
from mflib.show.figures.pitfalls import (
    ceiling_over_kappa,
    confusion_matrices,
    fold_composition,
    null_distribution,
    p_by_correlation,
    predictive_values_over_prevalence,
    right_and_wrong,
)
from mflib.show.figures.saliency import mistakes, saliency_checks, saliency_depth, saliency_gallery
from mflib.show.figures.texture import (
    co_occurrence,
    feature_by_grade,
    glcm,
    nakagami_fit,
    network_inputs,
    repeatability,
    three_planes,
    under_gain,
)

__all__ = [
    "auc_forest", "bland_altman", "bmi_vas", "calibration_curves", "ceiling_over_kappa", "choices", "co_occurrence",
    "confusion_matrices", "decision_curves", "distances", "feature_by_grade", "flow_of_patients", "fold_composition",
    "glcm", "grades_overview", "importance", "intensity_drift", "learning_curves", "mistakes", "nakagami_fit",
    "network_comparisons", "network_inputs", "null_distribution", "out_of_range", "p_by_correlation", "power_curve",
    "predictive_values_over_prevalence", "quality_overview", "reader_table", "recalibrated_curves", "repeatability",
    "right_and_wrong", "roc_curves", "saliency_checks", "saliency_depth", "saliency_gallery", "score_by_grade",
    "subgroup_forest", "three_planes", "transported_roc", "under_gain", "volume_thumbnails",
]  # fmt: skip
