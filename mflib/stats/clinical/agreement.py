"""How far the two MRI readers agree on the grade of a segment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from statsmodels.stats.inter_rater import cohens_kappa

from mflib.base.errors import InputError
from mflib.base.words import GRADE_NAMES, LEVELS

_WEIGHTS = {"unweighted": None, "quadratic": "quadratic"}
_READINGS = ["grade_reader1", "grade_reader2", "grade_adjudicator"]


@dataclass(frozen=True)
class Kappa:
    """One agreement coefficient with its percentile interval over resampled patients.

    Parameters
    ----------
    name : "unweighted" or "quadratic"
    value, low, high : None where undefined: all grades of both readers are the same. Resamples of which that is true
        are left out of the interval. One patient has a value and no interval: there is nobody else to draw.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.value is None:
            return "undefined"
        if self.low is None:
            return f"{self.value:.2f} (no interval: one patient)"
        return f"{self.value:.2f} (95 % interval {self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True, eq=False)
class Agreement:
    """How far the two MRI readers agree.

    Parameters
    ----------
    n, n_missing, n_patients : segments graded by both readers, by not both, and the patients of the former
    table : (4, 4) segments by grade; reader 1 in rows, reader 2 in columns
    agreement_pct : segments with the same grade from both, percent; None where n is 0
    kappas : unweighted and quadratic
    adjudicated : segments with a grade from the adjudicator
    undecided : segments where the readers differ and the adjudicator gave none
    problem : why there is no agreement to report; empty where there is one
    """

    n: int
    n_missing: int
    n_patients: int
    table: pd.DataFrame
    agreement_pct: float | None
    kappas: tuple[Kappa, ...]
    adjudicated: int
    undecided: int
    problem: str = ""

    @property
    def adjudicated_pct(self) -> float | None:
        """Share of all segments that the adjudicator graded, percent; None where there are no segments."""
        segments = self.n + self.n_missing
        return 100 * self.adjudicated / segments if segments else None

    @property
    def far_apart_pct(self) -> float | None:
        """Share of the segments graded by both where the grades lie two or three apart; None where n is 0."""
        far = np.abs(np.subtract.outer(np.arange(len(GRADE_NAMES)), np.arange(len(GRADE_NAMES)))) >= 2
        return 100 * float(self.table.to_numpy()[far].sum()) / self.n if self.n else None

    def summary(self) -> pd.DataFrame:
        """The coefficients as a table: coefficient, value, low, high."""
        rows = [(f"{kappa.name} kappa", kappa.value, kappa.low, kappa.high) for kappa in self.kappas]
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

    Raises
    ------
    InputError
        A grade other than 0 to 3.
    """
    readers = _readings(grades)
    both = readers.dropna(subset=_READINGS[:2])
    tables = _tables(both)
    table = tables.sum(axis=0)
    n = int(table.sum())
    differ, adjudicated = both["grade_reader1"] != both["grade_reader2"], both["grade_adjudicator"].notna()
    return Agreement(
        n=n,
        n_missing=len(grades) - n,
        n_patients=len(tables),
        table=pd.DataFrame(
            table, index=pd.Index(GRADE_NAMES, name="reader 1"), columns=pd.Index(GRADE_NAMES, name="reader 2")
        ),
        agreement_pct=100 * float(np.trace(table)) / n if n else None,
        kappas=_kappas(tables, seed, resamples),
        adjudicated=int(readers["grade_adjudicator"].notna().sum()),
        undecided=int((differ & ~adjudicated).sum()),
        problem="" if n else _no_readers(readers),
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

    Raises
    ------
    InputError
        As ``reader_agreement``.
    """
    parts = {"all": grades} | {level: grades[grades["level"] == level] for level in LEVELS}
    return pd.DataFrame(
        [{"level": level, **_level(reader_agreement(part, seed, resamples))} for level, part in parts.items()]
    )


def _level(found: Agreement) -> dict[str, object]:
    quadratic, note = found.kappas[-1], found.problem
    low, high = quadratic.low, quadratic.high
    if found.n and max(found.table.sum(axis=0).max(), found.table.sum(axis=1).max()) == found.n:
        note = "one reader gave one grade throughout: kappa is 0 by its definition, or undefined where both did"
        low = high = None
    elif found.n_patients == 1:
        note = "one patient: no interval, as there is nobody else to draw"
    elif found.agreement_pct == 100:
        note = "no disagreement: an interval without width, which says nothing of the uncertainty"
    return {
        "segments": found.n,
        "missing": found.n_missing,
        "same_grade_pct": found.agreement_pct,
        "far_apart_pct": found.far_apart_pct,
        "quadratic_kappa": quadratic.value,
        "low": low,
        "high": high,
        "adjudicated_pct": found.adjudicated_pct,
        "note": note,
    }


def _readings(grades: pd.DataFrame) -> pd.DataFrame:
    """The patient of each segment and its grades, missing where they were not recorded."""
    readings = grades.reindex(columns=["participant_id", *_READINGS]).reset_index(drop=True)
    for name in _READINGS:
        wrong = np.flatnonzero(readings[name].notna() & ~readings[name].isin(range(len(GRADE_NAMES))))
        if len(wrong):
            found = f"row {wrong[0]}, {name}: found {readings[name].iloc[wrong[0]]}"
            raise InputError(f"{found}, expected a grade from 0 to 3, or none")
    return readings.astype(dict.fromkeys(_READINGS, "Int64"))


def _tables(both: pd.DataFrame) -> NDArray[np.int64]:
    """Reader 1 by reader 2, per patient: (patients, 4, 4)."""
    patient, ids = pd.factorize(both["participant_id"])
    tables = np.zeros((len(ids), len(GRADE_NAMES), len(GRADE_NAMES)), dtype=np.int64)
    np.add.at(tables, (patient, both["grade_reader1"].to_numpy(int), both["grade_reader2"].to_numpy(int)), 1)
    return tables


def _kappas(tables: NDArray[np.int64], seed: int, resamples: int) -> tuple[Kappa, ...]:
    if len(tables) == 0:
        return tuple(Kappa(name, None, None, None) for name in _WEIGHTS)
    patients = len(tables)
    chosen = np.random.default_rng(seed).multinomial(patients, np.full(patients, 1 / patients), resamples)
    resampled = np.tensordot(chosen, tables, axes=1)
    kappas = []
    for name, weights in _WEIGHTS.items():
        value = _kappa(tables.sum(axis=0), weights)
        spread = [kappa for table in resampled if (kappa := _kappa(table, weights)) is not None]
        drawn = value is not None and patients > 1
        low, high = np.percentile(spread, [2.5, 97.5]).tolist() if drawn else (None, None)
        kappas.append(Kappa(name, value, low, high))
    return tuple(kappas)


def _kappa(table: NDArray[np.int64], weights: str | None) -> float | None:
    """Cohen's kappa; None where both readers gave one and the same grade throughout: 0 / 0."""
    if table.max() == table.sum():
        return None
    return float(cohens_kappa(table, wt=weights, return_results=False))


def _no_readers(readers: pd.DataFrame) -> str:
    unread = [name for name in ("grade_reader1", "grade_reader2") if readers[name].isna().all()]
    return f"{' and '.join(unread)} not recorded" if unread else "no segment was graded by both readers"
