"""The paper's tables and claims, ours beside them, and the audit of any published tables."""

from mflib.stats.published.audit import examine, show
from mflib.stats.published.paper import (
    agreement_findings,
    audit_paper,
    beside_comparison,
    beside_folds,
    beside_table_one,
    claim,
    cohort_counts,
    comparison_findings,
    implied_prevalences,
    infiltrated_share,
    key_results,
    matrices,
    means_and_sds,
    p_by_correlation,
    printed_p_values,
    read,
    reported_areas,
)
from mflib.stats.published.printed import (
    IMPOSSIBLE,
    NOT_REPRODUCIBLE,
    REPRODUCED,
    STATUSES,
    brief,
    read_folds,
    read_summary,
    table,
)
