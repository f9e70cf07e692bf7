"""The paper's tables and claims, ours beside them, and the audit of them."""

from mflib.published.beside import beside_comparison, beside_folds, beside_table_one, key_results
from mflib.published.findings import agreement_findings, audit, comparison_findings
from mflib.published.recomputed import (
    fold_audits,
    implied_prevalences,
    matrices,
    means_and_sds,
    p_by_correlation,
    printed_p_values,
)
from mflib.published.tables import FOLDER, claim, cohort_counts, infiltrated_share, read

__all__ = [
    "FOLDER",
    "agreement_findings",
    "audit",
    "beside_comparison",
    "beside_folds",
    "beside_table_one",
    "claim",
    "cohort_counts",
    "comparison_findings",
    "fold_audits",
    "implied_prevalences",
    "infiltrated_share",
    "key_results",
    "matrices",
    "means_and_sds",
    "p_by_correlation",
    "printed_p_values",
    "read",
]
