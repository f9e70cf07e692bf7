"""What an audit says: one finding for each statement that could be checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import pandas as pd

Status = Literal["reproduced", "not reproducible", "impossible under the stated assumption"]
REPRODUCED: Status = "reproduced"
NOT_REPRODUCIBLE: Status = "not reproducible"
IMPOSSIBLE: Status = "impossible under the stated assumption"
STATUSES: tuple[Status, ...] = (IMPOSSIBLE, NOT_REPRODUCIBLE, REPRODUCED)
SIGNS: dict[Status, str] = {REPRODUCED: "✓", NOT_REPRODUCIBLE: "≠", IMPOSSIBLE: "✗"}


class AuditError(ValueError):
    """A table or a claim that no audit can use; the message says where, what was found and what was expected."""


@dataclass(frozen=True)
class Finding:
    """One statement about printed numbers.

    Parameters
    ----------
    what : its subject
    status : "reproduced"; "not reproducible", where other printed numbers give another value or none; "impossible
        under the stated assumption", where no data at all can give what is printed
    assumption : under which that holds
    printed : what the publication says
    computed : what follows
    detail : what a reader wants to know besides
    """

    what: str
    status: Status
    assumption: str
    printed: str
    computed: str
    detail: str = ""


def table(findings: Sequence[Finding]) -> pd.DataFrame:
    """The findings as rows, in their order: a sign for the status, then the fields of each finding."""
    rows = [{"sign": SIGNS[finding.status], **asdict(finding)} for finding in findings]
    return pd.DataFrame(rows, columns=["sign", *Finding.__dataclass_fields__])


def brief(findings: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``table`` for a page: the detail goes with the value, the tolerance is left to the caption."""
    assumption = findings["assumption"].str.replace(r"(; )?printed values are exact to [^;]* place", "", regex=True)
    computed = findings["computed"] + findings["detail"].map(lambda detail: f" ({detail})" if detail else "")
    return pd.DataFrame(
        {
            "sign": findings["sign"],
            "what": findings["what"],
            "printed": findings["printed"],
            "computed": computed,
            "assumption": assumption.str.removeprefix("; "),
        }
    )
