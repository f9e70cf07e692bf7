"""BMI against pain: Pearson, Spearman, the partial correlation for age and sex, and how far one patient matters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm, pearsonr, spearmanr
from statsmodels.regression.linear_model import OLS
from statsmodels.tools import add_constant

from mflib.stats.performance.predictions import p_value

GIVEN = ["age", "sex"]
FEWEST_PAIRS = 4  # Fisher's z has a standard error of 1 / sqrt(n - 3), or 1 / sqrt(n - 3 - k) with k held constant
_NOTHING_LEFT = 1e-10  # share of the variance below which only rounding is left


@dataclass(frozen=True)
class Correlation:
    """BMI against pain, over the patients with all values.

    Parameters
    ----------
    n, n_missing : patients with all values, and without
    r, low, high, p : coefficient, its 95 % interval on Fisher's z and two-sided P
    problem : why there is no correlation; empty where there is one. The numbers are None then.
    kind : of correlation, in words
    """

    n: int
    n_missing: int
    r: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    problem: str = ""
    kind: str = "correlation"

    def __str__(self) -> str:
        if self.r is None or self.p is None:
            return f"no {self.kind}: {self.problem}"
        return f"r = {self.r:.2f} (95 % interval {self.low:.2f} to {self.high:.2f}), {p_value(self.p)}, n = {self.n}"


@dataclass(frozen=True)
class Influence:
    """How far Pearson's r moves when any one patient is left out.

    Parameters
    ----------
    low, high : the smallest and the largest r without one patient
    patient, change : who moves r the most, and r without that patient minus r with all
    problem : why there is nothing to say; empty where there is. The rest is None then.
    """

    low: float | None = None
    high: float | None = None
    patient: str | None = None
    change: float | None = None
    problem: str = ""

    def __str__(self) -> str:
        if self.low is None:
            return f"no influence: {self.problem}"
        return (
            f"without any one patient r lies between {self.low:.2f} and {self.high:.2f}; "
            f"leaving out {self.patient} moves it the most, by {self.change:+.2f}"
        )


def bmi_vas(patients: pd.DataFrame) -> Correlation:
    """Pearson's correlation of body mass index and pain score (visual analogue scale).

    Parameters
    ----------
    patients : one row per patient with ``bmi`` and ``vas``

    Returns
    -------
    Correlation
        With a ``problem`` in place of numbers where fewer than 4 patients have both, or one of the two is constant or
        infinite.
    """
    return _of_pairs(patients, pearsonr, 0)


def bmi_vas_by_rank(patients: pd.DataFrame) -> Correlation:
    """As ``bmi_vas``, Spearman's rank correlation.

    The interval is that of Bonett & Wright 2000 (doi:10.1007/BF02294183): Fisher's z with the variance
    (1 + r^2 / 2) / (n - 3).
    """
    return _of_pairs(patients, spearmanr, 1 / 2)


def _of_pairs(patients: pd.DataFrame, test: Callable[..., tuple[float, float]], widened: float) -> Correlation:
    """Coefficient and P of a test, its interval that of Fisher's z with the variance (1 + widened r^2) / (n - 3)."""
    pairs = _pairs(patients)
    n, n_missing = len(pairs), len(patients) - len(pairs)
    if problem := _problem(pairs):
        return Correlation(n, n_missing, problem=problem)
    r, p = (float(number) for number in test(pairs["bmi"], pairs["vas"]))
    return Correlation(n, n_missing, r, *_fisher(r, (1 + widened * r**2) / (n - 3)), p)


def bmi_vas_given_age_and_sex(patients: pd.DataFrame) -> Correlation:
    """Correlation of BMI and pain score that age and sex do not explain.

    It is that of what a linear model of age and sex leaves of the one and of the other, or r = t / sqrt(t^2 + n - 4)
    with the t of BMI in the linear model VAS ~ BMI + age + sex, whose P it has. With k = 2 variables held constant
    Fisher's z has the variance 1 / (n - 3 - k) (Fisher 1924).

    Parameters
    ----------
    patients : one row per patient with ``bmi``, ``vas``, ``age`` and ``sex`` (M, F)

    Returns
    -------
    Correlation
        With a ``problem`` in place of numbers where fewer than 6 patients have all four, one of them is constant or
        infinite, or age and sex explain BMI, VAS or each other in full.
    """
    table = patients.reindex(columns=["bmi", "vas", *GIVEN])
    known = table.assign(sex=table["sex"].map({"M": 1.0, "F": 0.0})).astype(np.float64).dropna()
    n, n_missing, kind = len(known), len(patients) - len(known), "partial correlation"
    if problem := _problem(known, "BMI, VAS, age and sex", len(GIVEN)) or _explained_in_full(known):
        return Correlation(n, n_missing, problem=problem, kind=kind)
    fitted = OLS(known["vas"], add_constant(known[["bmi", *GIVEN]])).fit()
    t = float(fitted.tvalues["bmi"])
    r = t / float(np.sqrt(t**2 + fitted.df_resid))
    return Correlation(n, n_missing, r, *_fisher(r, 1 / (n - 3 - len(GIVEN))), float(fitted.pvalues["bmi"]), kind=kind)


def bmi_vas_influence(patients: pd.DataFrame) -> Influence:
    """How far the correlation of BMI and pain rests on any one patient.

    Parameters
    ----------
    patients : one row per patient with ``participant_id``, ``bmi`` and ``vas``

    Returns
    -------
    Influence
        With a ``problem`` where the correlation has one, with all patients or without any one of them.
    """
    pairs = _pairs(patients.set_index("participant_id"))
    without = {patient: pairs.drop(index=patient) for patient in pairs.index}
    for some in (pairs, *without.values()):
        if problem := _problem(some):
            return Influence(problem=problem)
    r = float(pearsonr(pairs["bmi"], pairs["vas"]).statistic)
    moved = pd.Series({at: float(pearsonr(rest["bmi"], rest["vas"]).statistic) for at, rest in without.items()})
    most = (moved - r).abs().idxmax()
    return Influence(float(moved.min()), float(moved.max()), str(most), float(moved[most] - r))


def bmi_vas_without(patients: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The regression of pain on BMI with all patients, and without each of them in turn.

    Parameters
    ----------
    patients : one row per patient with ``participant_id``, ``bmi`` and ``vas``

    Returns
    -------
    found : ``without`` (a patient; empty: nobody is left out) and ``correlation`` (`Correlation`)
    lines : ``without``, ``bmi``, ``vas`` and the 95 % band of its mean, ``low`` and ``high``, by least squares at
        `GRID` places; no rows where there is nothing to correlate
    """
    known = patients.set_index("participant_id")
    cases = {"": known} | {str(patient): known.drop(index=patient) for patient in _pairs(known).index}
    found = {name: _of_pairs(some, pearsonr, 0) for name, some in cases.items()}
    lines = [_line(_pairs(some)).assign(without=name) for name, some in cases.items() if found[name].r is not None]
    columns = ["without", "bmi", "vas", "low", "high"]
    table = pd.DataFrame({"without": found.keys(), "correlation": found.values()})
    return table, pd.concat(lines)[columns] if lines else pd.DataFrame(columns=columns)


GRID = 25


def _line(pairs: pd.DataFrame) -> pd.DataFrame:
    bmi = np.linspace(pairs["bmi"].min(), pairs["bmi"].max(), GRID)
    fitted = OLS(pairs["vas"], add_constant(pairs["bmi"])).fit()
    line = fitted.get_prediction(add_constant(bmi)).summary_frame(alpha=0.05)
    return pd.DataFrame({"bmi": bmi, "vas": line["mean"], "low": line["mean_ci_lower"], "high": line["mean_ci_upper"]})


def correlations(patients: pd.DataFrame) -> pd.DataFrame:
    """The coefficients of BMI and pain in one table.

    Parameters
    ----------
    patients : one row per patient with ``bmi``, ``vas``, ``age`` and ``sex``

    Returns
    -------
    DataFrame
        ``coefficient``, ``n``, ``n_missing``, ``r``, ``low``, ``high`` (95 %), ``p``, ``note`` (why numbers are NaN).
    """
    found = {"Pearson": bmi_vas(patients), "Spearman": bmi_vas_by_rank(patients)}
    found["Pearson, age and sex held constant"] = bmi_vas_given_age_and_sex(patients)
    table = pd.DataFrame([{"coefficient": name, **asdict(one)} for name, one in found.items()])
    return table.drop(columns="kind").rename(columns={"problem": "note"})


def _pairs(patients: pd.DataFrame) -> pd.DataFrame:
    return patients.reindex(columns=["bmi", "vas"]).astype(np.float64).dropna()


def _problem(known: pd.DataFrame, what: str = "both BMI and VAS", held: int = 0) -> str:
    """Why the columns do not suffice for a correlation with ``held`` variables held constant; empty where they do."""
    n, fewest = len(known), FEWEST_PAIRS + held
    if n < fewest:
        return f"{n} patients with {what}, at least {fewest} needed"
    infinite = np.isinf(known).sum()
    if infinite.any():
        return " and ".join(f"{name} infinite in {count} of {n} patients" for name, count in infinite.items() if count)
    constant = [name for name in known if known[name].nunique() == 1]
    return f"{' and '.join(constant)} the same in all {n} patients" if constant else ""


def _explained_in_full(known: pd.DataFrame) -> str:
    """What age and sex leave nothing of to correlate; empty where something is left."""
    if _unexplained(known, "age", ["sex"]) <= _NOTHING_LEFT:
        return "age and sex say the same of every patient"
    explained = [name for name in ("bmi", "vas") if _unexplained(known, name, GIVEN) <= _NOTHING_LEFT]
    return f"age and sex leave nothing of {' and '.join(explained)} to correlate" if explained else ""


def _unexplained(known: pd.DataFrame, name: str, given: list[str]) -> float:
    """Share of the variance that a linear model of the given variables leaves."""
    return float(1 - OLS(known[name], add_constant(known[given])).fit().rsquared)


def _fisher(r: float, variance: float) -> tuple[float, float]:
    """95 % interval on Fisher's z; a perfect correlation has one without width."""
    if abs(r) >= 1:
        return r, r
    reach = norm.ppf(0.975) * np.sqrt(variance)
    return float(np.tanh(np.arctanh(r) - reach)), float(np.tanh(np.arctanh(r) + reach))
