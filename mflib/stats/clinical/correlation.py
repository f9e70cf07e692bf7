"""BMI against pain: Pearson, Spearman, the partial correlation for age and sex, and how far one patient matters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm, pearsonr, spearmanr
from scipy.stats import t as t_distribution

from mflib.stats.performance.predictions import p_value

Floats = NDArray[np.float64]
FEWEST_PAIRS = 4  # Fisher's z has a standard error of 1 / sqrt(n - 3)
GIVEN = ("age", "sex")
FEWEST_GIVEN = FEWEST_PAIRS + len(GIVEN)  # and of 1 / sqrt(n - 3 - k) where k variables are held constant
_NOTHING_LEFT = 1e-10  # share of the variance below which only rounding is left


@dataclass(frozen=True)
class _Coefficient:
    """A correlation with its 95 % interval, or why there is none."""

    n: int
    n_missing: int
    r: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    problem: str = ""

    kind: ClassVar[str]

    def __str__(self) -> str:
        if self.r is None or self.p is None:
            return f"no {self.kind}: {self.problem}"
        return f"r = {self.r:.2f} (95 % interval {self.low:.2f} to {self.high:.2f}), {p_value(self.p)}, n = {self.n}"


@dataclass(frozen=True)
class Correlation(_Coefficient):
    """BMI against pain, over the patients with both.

    Parameters
    ----------
    n, n_missing : patients with both values, and without
    r, low, high, p : Pearson's r, its 95 % interval (Fisher's z) and two-sided P
    problem : why there is no correlation; empty where there is one. The numbers are None then.
    spearman, spearman_low, spearman_high, spearman_p : Spearman's rank correlation, its 95 % interval (Bonett & Wright
        2000) and its P
    """

    spearman: float | None = None
    spearman_low: float | None = None
    spearman_high: float | None = None
    spearman_p: float | None = None

    kind: ClassVar[str] = "correlation"


@dataclass(frozen=True)
class Partial(_Coefficient):
    """BMI against pain with age and sex held constant, over the patients with all four.

    Parameters
    ----------
    n, n_missing : patients with all four values, and without
    r, low, high, p : partial correlation, its 95 % interval (Fisher's z) and two-sided P
    problem : why there is none; empty where there is one. The numbers are None then.
    """

    kind: ClassVar[str] = "partial correlation"


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
    """Correlation of body mass index and pain score (visual analogue scale).

    The interval of Spearman's coefficient is that of Bonett & Wright 2000 (doi:10.1007/BF02294183): Fisher's z with
    the variance (1 + r^2 / 2) / (n - 3).

    Parameters
    ----------
    patients : one row per patient with ``bmi`` and ``vas``

    Returns
    -------
    Correlation
        With a ``problem`` in place of numbers where fewer than 4 patients have both, or one of the two is constant or
        infinite.
    """
    pairs = _pairs(patients)
    n, n_missing = len(pairs), len(patients) - len(pairs)
    if problem := _pairs_problem(pairs):
        return Correlation(n, n_missing, problem=problem)
    pearson, spearman = pearsonr(pairs["bmi"], pairs["vas"]), spearmanr(pairs["bmi"], pairs["vas"])
    r, rank = float(pearson.statistic), float(spearman.statistic)
    low, high = _fisher(rank, (1 + rank**2 / 2) / (n - 3))
    return Correlation(
        n,
        n_missing,
        r,
        *_fisher(r, 1 / (n - 3)),
        float(pearson.pvalue),
        spearman=rank,
        spearman_low=low,
        spearman_high=high,
        spearman_p=float(spearman.pvalue),
    )


def bmi_vas_given_age_and_sex(patients: pd.DataFrame) -> Partial:
    """Correlation of BMI and pain score that age and sex do not explain.

    What a linear model of age and sex leaves of the one is correlated with what it leaves of the other. With k = 2
    variables held constant, t has n - 2 - k degrees of freedom and Fisher's z the variance 1 / (n - 3 - k) (Fisher
    1924). The P value is that of BMI in the linear model VAS ~ BMI + age + sex.

    Parameters
    ----------
    patients : one row per patient with ``bmi``, ``vas``, ``age`` and ``sex`` (M, F)

    Returns
    -------
    Partial
        With a ``problem`` in place of numbers where fewer than 6 patients have all four, one of them is constant or
        infinite, or age and sex explain BMI, VAS or each other in full.
    """
    table = patients.reindex(columns=["bmi", "vas", *GIVEN])
    known = table.assign(sex=table["sex"].map({"M": 1.0, "F": 0.0})).astype(np.float64).dropna()
    n, n_missing = len(known), len(patients) - len(known)
    problem = _too_few(n, FEWEST_GIVEN, "BMI, VAS, age and sex") or _infinite(known) or _constant(known)
    if problem:
        return Partial(n, n_missing, problem=problem)
    if not _is_left(known["age"], _residual(known, "age", ["sex"])):
        return Partial(n, n_missing, problem="age and sex say the same of every patient")
    left = {name: _residual(known, name, list(GIVEN)) for name in ("bmi", "vas")}
    explained = [name for name, residual in left.items() if not _is_left(known[name], residual)]
    if explained:
        return Partial(n, n_missing, problem=f"age and sex leave nothing of {' and '.join(explained)} to correlate")
    r = float(pearsonr(left["bmi"], left["vas"]).statistic)
    freedom = n - 2 - len(GIVEN)
    t = np.inf if abs(r) == 1 else abs(r) * np.sqrt(freedom / (1 - r**2))
    return Partial(n, n_missing, r, *_fisher(r, 1 / (freedom - 1)), float(2 * t_distribution.sf(t, freedom)))


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
    patients = patients.reset_index(drop=True)
    pairs = _pairs(patients)
    without = {position: pairs.drop(index=position) for position in pairs.index}
    problem = _pairs_problem(pairs) or next(filter(None, map(_pairs_problem, without.values())), "")
    if problem:
        return Influence(problem=problem)
    r = float(pearsonr(pairs["bmi"], pairs["vas"]).statistic)
    moved = pd.Series({at: float(pearsonr(rest["bmi"], rest["vas"]).statistic) for at, rest in without.items()})
    most = (moved - r).abs().idxmax()
    who = str(patients["participant_id"].loc[most])
    return Influence(float(moved.min()), float(moved.max()), who, float(moved[most] - r))


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
    plain, partial = bmi_vas(patients), bmi_vas_given_age_and_sex(patients)
    ranks = (plain.spearman, plain.spearman_low, plain.spearman_high, plain.spearman_p)
    rows = [
        ("Pearson", plain.n, plain.n_missing, plain.r, plain.low, plain.high, plain.p, plain.problem),
        ("Spearman", plain.n, plain.n_missing, *ranks, plain.problem),
        (
            "Pearson, age and sex held constant",
            *(partial.n, partial.n_missing, partial.r, partial.low, partial.high, partial.p, partial.problem),
        ),
    ]
    return pd.DataFrame(rows, columns=["coefficient", "n", "n_missing", "r", "low", "high", "p", "note"])


def _pairs(patients: pd.DataFrame) -> pd.DataFrame:
    return patients.reindex(columns=["bmi", "vas"]).astype(np.float64).dropna()


def _pairs_problem(pairs: pd.DataFrame) -> str:
    return _too_few(len(pairs), FEWEST_PAIRS, "both BMI and VAS") or _infinite(pairs) or _constant(pairs)


def _too_few(n: int, fewest: int, what: str) -> str:
    return f"{n} patients with {what}, at least {fewest} needed" if n < fewest else ""


def _infinite(known: pd.DataFrame) -> str:
    found = [
        f"{name} infinite in {count} of {len(known)} patients" for name, count in np.isinf(known).sum().items() if count
    ]
    return " and ".join(found)


def _constant(known: pd.DataFrame) -> str:
    names = [name for name in known if known[name].nunique() == 1]
    return f"{' and '.join(names)} the same in all {len(known)} patients" if names else ""


def _residual(known: pd.DataFrame, name: str, given: list[str]) -> Floats:
    """What a linear model of the given variables leaves of one."""
    centred = known - known.mean()
    scaled = (centred[given] / centred[given].std()).to_numpy()
    target = centred[name].to_numpy()
    return target - scaled @ np.linalg.lstsq(scaled, target)[0]


def _is_left(values: pd.Series, residual: Floats) -> bool:
    return bool(residual.var() > _NOTHING_LEFT * values.var(ddof=0))


def _fisher(r: float, variance: float) -> tuple[float, float]:
    """95 % interval on Fisher's z; a perfect correlation has one without width."""
    if abs(r) >= 1:
        return r, r
    reach = norm.ppf(0.975) * np.sqrt(variance)
    return float(np.tanh(np.arctanh(r) - reach)), float(np.tanh(np.arctanh(r) + reach))
