"""The patients in numbers: Table 1, the correlation of BMI with pain, and how far the MRI readers agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import pearsonr, shapiro, spearmanr
from statsmodels.stats.inter_rater import cohens_kappa

GRADES = ("none", "mild", "moderate", "severe")
NOT_RECORDED = "not recorded"
ALPHA = 0.05
FEWEST_PAIRS = 4  # Fisher's z has a standard error of 1 / sqrt(n - 3)

# column, section, variable, unit, decimals: order and sections of the paper's table 1.
_MEASURED = (
    ("age", "demographics", "age", "years", 1),
    ("height_cm", "demographics", "height", "cm", 1),
    ("weight_kg", "demographics", "weight", "kg", 1),
    ("bmi", "demographics", "BMI", "kg/m2", 2),
    ("exercise_hours", "lifestyle", "exercise", "hours/week", 1),
    ("vas", "pain", "VAS", "score", 1),
    ("pain_months", "pain", "pain duration", "months", 1),
    ("bed_rest_months", "pain", "bed rest due to pain", "months", 1),
)
_YES_NO = (
    ("sedentary", "sedentary (>= 30 min/session)"),
    ("labour", "physical labour (waist effort)"),
    ("night_shift", "night shifts (>= 4/month)"),
)
_WEIGHTS = {"unweighted": None, "quadratic": "quadratic"}
_SECTIONS = ("demographics", "lifestyle", "pain", "mri")


@dataclass(frozen=True)
class Correlation:
    """BMI against pain, over the patients with both.

    Parameters
    ----------
    n, n_missing : patients with both values, and without
    r, low, high, p : Pearson's r, its 95 % interval (Fisher's z) and two-sided P
    spearman, spearman_p : Spearman's rank correlation and its P
    problem : why there is no correlation; empty where there is one. The numbers are None then.
    """

    n: int
    n_missing: int
    r: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    spearman: float | None = None
    spearman_p: float | None = None
    problem: str = ""

    def __str__(self) -> str:
        if self.r is None:
            return f"no correlation: {self.problem}"
        return f"r = {self.r:.2f} (95 % interval {self.low:.2f} to {self.high:.2f}), {_p(self.p)}, n = {self.n}"


@dataclass(frozen=True)
class Kappa:
    """One agreement coefficient with its percentile interval over resampled patients.

    Parameters
    ----------
    name : "unweighted" or "quadratic"
    value, low, high : None where undefined: all grades of both readers are the same. Resamples of which that is true
        are left out of the interval.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None

    def __str__(self) -> str:
        if self.value is None:
            return "undefined"
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

    def summary(self) -> pd.DataFrame:
        """The coefficients as a table: coefficient, value, low, high."""
        rows = [(f"{kappa.name} kappa", kappa.value, kappa.low, kappa.high) for kappa in self.kappas]
        return pd.DataFrame(rows, columns=["coefficient", "value", "low", "high"])


def table_one(patients: pd.DataFrame, segments: pd.DataFrame) -> pd.DataFrame:
    """The cohort in the form of the paper's table 1.

    Parameters
    ----------
    patients : one row per patient, the columns of ``Cohort.patients``
    segments : one row per segment with ``grade`` 0-3

    Returns
    -------
    DataFrame
        ``section``, ``variable``, ``unit``, ``statistic``, ``value``, ``n_missing``, ``normality``. Where Shapiro-Wilk
        does not reject normality at 0.05, a variable is given as mean ± sample SD, otherwise, or where it cannot be
        tested, as median (Q1, Q3). Counts are of the recorded. What nobody recorded stays, as "not recorded".
    """
    rows = [_sex(patients)]
    rows += [_measured(patients, *variable) for variable in _MEASURED]
    rows += [_yes_no(patients, *variable) for variable in _YES_NO]
    table = pd.DataFrame([*rows, *_grades(segments)])
    order = table["section"].map(_SECTIONS.index).sort_values(kind="stable").index
    return table.loc[order].reset_index(drop=True)


def bmi_vas(patients: pd.DataFrame) -> Correlation:
    """Correlation of body mass index and pain score (visual analogue scale).

    Parameters
    ----------
    patients : one row per patient with ``bmi`` and ``vas``

    Returns
    -------
    Correlation
        With a ``problem`` in place of numbers where fewer than 4 patients have both, or one of the two is constant.
    """
    pairs = patients.reindex(columns=["bmi", "vas"]).astype(np.float64).dropna()
    n, n_missing = len(pairs), len(patients) - len(pairs)
    if n < FEWEST_PAIRS:
        return Correlation(n, n_missing, problem=f"{n} patients with both BMI and VAS, at least {FEWEST_PAIRS} needed")
    constant = [name for name in pairs if pairs[name].nunique() == 1]
    if constant:
        return Correlation(n, n_missing, problem=f"{' and '.join(constant)} the same in all {n} patients")
    pearson, spearman = pearsonr(pairs["bmi"], pairs["vas"]), spearmanr(pairs["bmi"], pairs["vas"])
    low, high = pearson.confidence_interval(0.95)
    return Correlation(
        n=n,
        n_missing=n_missing,
        r=float(pearson.statistic),
        low=float(low),
        high=float(high),
        p=float(pearson.pvalue),
        spearman=float(spearman.statistic),
        spearman_p=float(spearman.pvalue),
    )


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
    names = ["grade_reader1", "grade_reader2", "grade_adjudicator"]
    readers = grades.reindex(columns=["participant_id", *names]).astype(dict.fromkeys(names, "Int64"))
    both = readers.dropna(subset=names[:2])
    tables = _tables(both)
    table = tables.sum(axis=0)
    n = int(table.sum())
    differ, adjudicated = both["grade_reader1"] != both["grade_reader2"], both["grade_adjudicator"].notna()
    return Agreement(
        n=n,
        n_missing=len(grades) - n,
        n_patients=len(tables),
        table=pd.DataFrame(table, index=pd.Index(GRADES, name="reader 1"), columns=pd.Index(GRADES, name="reader 2")),
        agreement_pct=100 * float(np.trace(table)) / n if n else None,
        kappas=_kappas(tables, seed, resamples),
        adjudicated=int(readers["grade_adjudicator"].notna().sum()),
        undecided=int((differ & ~adjudicated).sum()),
        problem="" if n else _no_readers(readers),
    )


def _measured(
    patients: pd.DataFrame, column: str, section: str, variable: str, unit: str, decimals: int
) -> dict[str, object]:
    values = _column(patients, column).astype(np.float64)
    known = values.dropna()
    row = {"section": section, "variable": variable, "unit": unit}
    if known.empty:
        return {**row, **_unrecorded(patients)}
    normal, normality = _normality(known)
    if normal:
        statistic, value = "mean ± SD", f"{known.mean():.{decimals}f} ± {known.std():.{decimals}f}"
    else:
        q1, median, q3 = (f"{round(q, decimals):g}" for q in known.quantile([0.25, 0.5, 0.75]))
        statistic, value = "median (Q1, Q3)", f"{median} ({q1}, {q3})"
    return {**row, "statistic": statistic, "value": value, "n_missing": values.isna().sum(), "normality": normality}


def _normality(values: pd.Series) -> tuple[bool, str]:
    """Whether values may be called normal, and on what ground."""
    if len(values) < 3 or values.nunique() == 1:
        return False, f"not tested ({values.nunique()} different values of {len(values)})"
    p = float(shapiro(values).pvalue)
    return p > ALPHA, f"Shapiro-Wilk {_p(p)}"


def _yes_no(patients: pd.DataFrame, column: str, variable: str) -> dict[str, object]:
    values = _column(patients, column)
    known = values.dropna().astype(bool)
    row = {"section": "lifestyle", "variable": variable, "unit": "n"}
    if known.empty:
        return {**row, **_unrecorded(patients)}
    yes, n = int(known.sum()), len(known)
    value = f"{yes}/{n} ({100 * yes / n:.1f})"
    return {**row, "statistic": "n/N (%)", "value": value, "n_missing": values.isna().sum(), "normality": ""}


def _sex(patients: pd.DataFrame) -> dict[str, object]:
    values = _column(patients, "sex")
    row = {"section": "demographics", "variable": "male/female", "unit": "n"}
    if values.isna().all():
        return {**row, **_unrecorded(patients)}
    value = f"{(values == 'M').sum()}/{(values == 'F').sum()}"
    return {**row, "statistic": "count", "value": value, "n_missing": values.isna().sum(), "normality": ""}


def _grades(segments: pd.DataFrame) -> list[dict[str, object]]:
    """Segments with and without infiltration, and its degrees."""
    counts = segments["grade"].value_counts().reindex(range(4), fill_value=0)
    n, infiltrated = int(counts.sum()), int(counts[1:].sum())
    shares = [("no fat infiltration", counts[0], n, "n (%)"), ("fat infiltration", infiltrated, n, "n (%)")]
    shares += [(GRADES[grade], counts[grade], infiltrated, "n (% of infiltrated)") for grade in (1, 2, 3)]
    missing = segments["grade"].isna().sum()
    return [
        {
            "section": "mri",
            "variable": variable,
            "unit": "segments",
            "statistic": statistic,
            "value": f"{count} ({100 * count / of:.1f})" if of else f"{count}",
            "n_missing": missing,
            "normality": "",
        }
        for variable, count, of, statistic in shares
    ]


def _column(patients: pd.DataFrame, column: str) -> pd.Series:
    return patients.reindex(columns=[column])[column]


def _unrecorded(patients: pd.DataFrame) -> dict[str, object]:
    return {"statistic": "", "value": NOT_RECORDED, "n_missing": len(patients), "normality": ""}


def _p(p: float | None) -> str:
    return "P < 0.001" if p is not None and p < 0.001 else f"P = {p:.3f}"


def _tables(both: pd.DataFrame) -> NDArray[np.int64]:
    """Reader 1 by reader 2, per patient: (patients, 4, 4)."""
    patient, ids = pd.factorize(both["participant_id"])
    tables = np.zeros((len(ids), len(GRADES), len(GRADES)), dtype=np.int64)
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
        low, high = np.percentile(spread, [2.5, 97.5]).tolist() if value is not None else (None, None)
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
