"""The patients in numbers: who they are, how BMI goes with pain, how far readers agree, what the cohort can show.

``table_one`` and ``by_grade`` describe, ``gaps`` counts what is missing, ``correlation`` holds BMI against pain,
``agreement`` one MRI reader against the other, ``clustering`` measures how alike the segments of a patient are, and
``precision`` says how many segments a question needs.
"""

from mflib.stats.clinical.agreement import Agreement, Kappa, agreement_by_level, reader_agreement
from mflib.stats.clinical.correlation import (
    Correlation,
    Influence,
    Partial,
    bmi_vas,
    bmi_vas_given_age_and_sex,
    bmi_vas_influence,
    correlations,
)
from mflib.stats.clinical.precision import (
    WANTED,
    auc_design_effect,
    auc_design_effects,
    clustering,
    design_effects,
    detectable,
    power_by_patients,
    sample_size,
)
from mflib.stats.clinical.table_one import missing, table_one, table_one_by

__all__ = [
    "WANTED",
    "Agreement",
    "Correlation",
    "Influence",
    "Kappa",
    "Partial",
    "agreement_by_level",
    "auc_design_effect",
    "auc_design_effects",
    "bmi_vas",
    "bmi_vas_given_age_and_sex",
    "bmi_vas_influence",
    "clustering",
    "correlations",
    "design_effects",
    "detectable",
    "missing",
    "power_by_patients",
    "reader_agreement",
    "sample_size",
    "table_one",
    "table_one_by",
]
