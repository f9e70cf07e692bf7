"""How far the two MRI readers agree on the grade of a segment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mflib.base.words import GRADE_NAMES, LEVELS, READERS
from mflib.stats import roc
from mflib.stats.performance.metrics import Floats, grade_pairs, kappa

_WEIGHTS = {"unweighted": None, "quadratic": "quadratic"}
_READINGS = [*READERS, "grade_adjudicator"]


@dataclass(frozen=True)
class Kappa:
    """One agreement coefficient with its percentile interval over resampled patients.

    Parameters
    ----------
    name : "unweighted" or "quadratic"
    value, low, high : None where undefined: all grades of both readers are the same. Resamples of which that is true
        are left out of the interval. There is a value and no interval of one patient, as there is nobody else to draw,
        and where a reader gave one grade throughout: kappa is 0 then whatever is drawn.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.value is None:
            return "undefined"
        if self.low is None:
            return f"{self.value:.2f} (no interval: one patient, or one grade from a reader)"
        return f"{self.value:.2f} (95 % interval {self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far the two MRI readers agree.

    Parameters
    ----------
    table : (4, 4) segments by grade; reader 1 in rows, reader 2 in columns
    n_missing, n_patients : segments not graded by both readers, and the patients of those that are
    kappas : unweighted and quadratic
    adjudicated : segments with a grade from the adjudicator
    undecided : segments where the readers differ and the adjudicator gave none
    problem : why there is no agreement to report; empty where there is one
    """

    table: pd.DataFrame
    n_missing: int
    n_patients: int
    kappas: tuple[Kappa, ...]
    adjudicated: int
    undecided: int
    problem: str

    @property
    def n(self) -> int:
        """Segments graded by both readers."""
        return int(self.table.to_numpy().sum())

    @property
    def agreement_pct(self) -> float | None:
        """Share of the segments graded by both that have the same grade from both; None where n is 0."""
        return 100 * float(np.trace(self.table)) / self.n if self.n else None

    @property
    def far_apart_pct(self) -> float | None:
        """Share of the segments graded by both where the grades lie two or three apart; None where n is 0."""
        far = np.triu(self.table, 2).sum() + np.tril(self.table, -2).sum()
        return 100 * float(far) / self.n if self.n else None

    @property
    def adjudicated_pct(self) -> float | None:
        """Share of all segments that the adjudicator graded, percent; None where there are no segments."""
        segments = self.n + self.n_missing
        return 100 * self.adjudicated / segments if segments else None

    def summary(self) -> pd.DataFrame:
        """The coefficients as a table: coefficient, value, low, high."""
        rows = [(f"{found.name} kappa", found.value, found.low, found.high) for found in self.kappas]
        return pd.DataFrame(rows, columns=["coefficient", "value", "low", "high"])


def reader_agreement(grades: pd.DataFrame, seed: int = 0, resamples: int = 2000) -> Agreement:
    """Agreement of the two readers over the segments that both graded.

    Parameters
    ----------
    grades : one row per segment: ``participant_id`` and, where recorded, ``grade_reader1``, ``grade_reader2``,
        ``grade_adjudicator`` (0-3, nullable)
    seed : of the bootstrap
    resamples : of patients, with replacement; all segments of a patient go together

    Returns
    -------
    Agreement
        With a ``problem`` where no segment has grades of both readers.
    """
    # Missing where a clinic has no such column.
    readings = grades.reindex(columns=["participant_id", *_READINGS]).astype(dict.fromkeys(_READINGS, "Int64"))
    both = readings.dropna(subset=READERS)
    first, second = (both[name].to_numpy(int) for name in READERS)
    cells, adjudicated = grade_pairs(first, second), both["grade_adjudicator"].notna().to_numpy()
    counts = cells.sum(axis=0).reshape(4, 4).astype(int)
    unread = " and ".join(name for name in READERS if readings[name].isna().all())
    problem = f"{unread} not recorded" if unread else "no segment was graded by both readers"
    rows, columns = (pd.Index(GRADE_NAMES, name=name) for name in ("reader 1", "reader 2"))
    return Agreement(
        table=pd.DataFrame(counts, index=rows, columns=columns),
        n_missing=len(grades) - len(both),
        n_patients=both["participant_id"].nunique(),
        kappas=_kappas(both["participant_id"], cells, seed, resamples),
        adjudicated=int(readings["grade_adjudicator"].notna().sum()),
        undecided=int(((first != second) & ~adjudicated).sum()),
        problem=problem if both.empty else "",
    )


def agreement_by_level(grades: pd.DataFrame, seed: int = 0, resamples: int = 2000) -> pd.DataFrame:
    """Agreement of the two readers over the whole spine and at each level.

    Parameters
    ----------
    grades : as ``reader_agreement``, with ``level``
    seed, resamples : of the bootstrap of patients

    Returns
    -------
    DataFrame
        ``level``, ``segments`` (graded by both), ``missing``, ``same_grade_pct``, ``far_apart_pct`` (two or three
        grades), ``quadratic_kappa``, ``low``, ``high``, ``adjudicated_pct``, ``note`` (why numbers are NaN). Kappa
        depends on how often each grade occurs, so levels with other grades have other kappas at equal skill.
    """
    parts = {"all": grades} | {level: grades[grades["level"] == level] for level in LEVELS}
    found = {level: reader_agreement(part, seed, resamples) for level, part in parts.items()}
    return pd.DataFrame([{"level": level, **_level(of_level)} for level, of_level in found.items()])


def _level(found: Agreement) -> dict[str, object]:
    quadratic, note = found.kappas[-1], found.problem
    if found.n and _one_grade(found.table.to_numpy()):
        note = "one reader gave one grade throughout: kappa is 0 by its definition, undefined where both gave the same"
    elif found.n_patients == 1:
        note = "one patient: no interval, as there is nobody else to draw"
    elif found.agreement_pct == 100:
        note = "no disagreement: an interval without width, which says nothing of the uncertainty"
    shares = {"same_grade_pct": found.agreement_pct, "far_apart_pct": found.far_apart_pct}
    agreed = {"quadratic_kappa": quadratic.value, "low": quadratic.low, "high": quadratic.high}
    return {
        "segments": found.n,
        "missing": found.n_missing,
        **shares,
        **agreed,
        "adjudicated_pct": found.adjudicated_pct,
        "note": note,
    }


def _one_grade(table: NDArray[np.number]) -> bool:
    """Whether a reader gave all segments the same grade."""
    return bool(max(table.sum(axis=0).max(), table.sum(axis=1).max()) == table.sum())


def _kappas(patients: pd.Series, cells: Floats, seed: int, resamples: int) -> tuple[Kappa, ...]:
    tables = np.empty((0, 4, 4))
    if patients.nunique() > 1 and not _one_grade(cells.sum(axis=0).reshape(4, 4)):
        tables = roc.resampled_sums(patients, None, cells, resamples, seed).reshape(-1, 4, 4)
    kappas = []
    for name, weights in _WEIGHTS.items():
        value = kappa(cells.sum(axis=0).reshape(4, 4), weights)
        drawn = [found for table in tables if (found := kappa(table, weights)) is not None]
        low, high = np.percentile(drawn, [2.5, 97.5]).tolist() if drawn and value is not None else (None, None)
        kappas.append(Kappa(name, value, low, high))
    return tuple(kappas)
