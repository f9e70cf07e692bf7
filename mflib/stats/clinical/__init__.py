"""The patients in numbers: who they are, how BMI goes with pain, how far readers agree, what the cohort can show."""

from mflib.stats.clinical.agreement import agreement_by_level, reader_agreement
from mflib.stats.clinical.correlation import (
    bmi_vas,
    bmi_vas_given_age_and_sex,
    bmi_vas_influence,
    bmi_vas_without,
    correlations,
)
from mflib.stats.clinical.precision import (
    WANTED,
    auc_design_effects,
    clustering,
    design_effects,
    detectable,
    power_by_patients,
    sample_size,
)
from mflib.stats.clinical.table_one import missing, missing_in_words, table_one, table_one_by
