"""The paper's tables and claims, ours beside them, and the audit of them."""

from mflib.published.beside import beside_comparison, beside_folds, beside_table_one, key_results
from mflib.published.findings import audit, fold_audits, matrices, printed_summary
from mflib.published.tables import FOLDER, claim, cohort_counts, infiltrated_share, read

__all__ = [
    "FOLDER",
    "audit",
    "beside_comparison",
    "beside_folds",
    "beside_table_one",
    "claim",
    "cohort_counts",
    "fold_audits",
    "infiltrated_share",
    "key_results",
    "matrices",
    "printed_summary",
    "read",
]
