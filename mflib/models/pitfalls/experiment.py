"""What experiments share: their settings, data without anything to find, cheap models, and the table of results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass as settings
from scipy.stats import norm
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mflib.base import parallel
from mflib.base.errors import InputError
from mflib.base.settings import STRICT, Count
from mflib.models import folds as division
from mflib.models import forest
from mflib.models.folds import Fold, Indices, Labels, Split


@settings(frozen=True, config=STRICT)
class PitfallsSettings:
    """Sizes of the experiments: larger ones are surer, and slower in proportion.

    Parameters
    ----------
    repetitions : cross-validations of each kind, with other folds, other null labels or other gains each time
    simulations : simulated cohorts from which the error rate of a test and the coverage of an interval are counted
    permutations : of the labels, for the null distribution of the whole forest
    trees : trees of every forest
    volumes : volumes per patient that are read where voxels are needed
    """

    repetitions: Annotated[Count, Field(ge=2)] = 10
    simulations: Count = 500
    permutations: Count = 20
    trees: Count = 50
    volumes: Count = 2


# The paper's: 46 patients of 8 segments, 160 of 368 infiltrated.
PATIENTS, SEGMENTS, PREVALENCE = 46, 8, 160 / 368
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Segments:
    """What folds are made of and models are fitted to.

    Parameters
    ----------
    values : (n, features)
    labels : (n,) 0 or 1
    patients : (n,) number of the patient
    """

    values: Floats
    labels: Labels
    patients: NDArray[np.intp]


def clustered_segments(shape: tuple[int, int, int], icc: float, rng: np.random.Generator) -> Floats:
    """Standard normal values whose correlation between two segments of one patient is ``icc``.

    Parameters
    ----------
    shape : patients, segments of each, columns
    icc : 0 to 1

    Returns
    -------
    (patients * segments, columns)
    """
    patients, _, columns = shape
    shared = rng.standard_normal((patients, 1, columns))
    own = rng.standard_normal(shape)
    return np.asarray((np.sqrt(icc) * shared + np.sqrt(1 - icc) * own).reshape(-1, columns))


def simulated_cohort(icc: float, label_icc: float, rng: np.random.Generator, *, features: int) -> Segments:
    """Features and labels that have nothing to do with each other, both alike inside a patient.

    Parameters
    ----------
    icc : of the features
    label_icc : of the normal variable behind the labels; 1 gives all segments of a patient one label
    features : how many
    """
    values = clustered_segments((PATIENTS, SEGMENTS, features), icc, rng)
    labels = infiltrated(clustered_segments((PATIENTS, SEGMENTS, 1), label_icc, rng)[:, 0])
    return Segments(values, labels, np.repeat(np.arange(PATIENTS), SEGMENTS))


def infiltrated(latent: Floats) -> Labels:
    """Labels of which the paper's share is 1: where a standard normal variable is high enough."""
    return (latent > norm.isf(PREVALENCE)).astype(np.int64)


def permuted_by_patient(keys: pd.DataFrame, labels: Labels, rng: np.random.Generator) -> Labels:
    """Every patient gets the labels of a patient drawn without replacement, in random order.

    Segments of a patient stay as alike as they are, and labels say nothing of the patient's volumes any more. Segment
    for segment would leave what is true of every patient: that lower levels are more often infiltrated, which a model
    finds where it can tell levels apart. Where the other patient has fewer segments, some labels are drawn again.

    Parameters
    ----------
    keys : (n, ...) with ``participant_id``
    labels : (n,) 0 or 1
    """
    who, given = keys["participant_id"].to_numpy(), np.array(labels, np.int64)
    patients = pd.unique(who)
    for patient, donor in zip(patients, rng.permutation(patients), strict=True):
        rows, theirs = np.flatnonzero(who == patient), labels[who == donor]
        given[rows] = rng.choice(theirs, len(rows), replace=len(theirs) < len(rows))
    return given


def logistic_model() -> ClassifierMixin:
    """Logistic regression on standardised features, with scikit-learn's default ridge penalty."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def scores(model: ClassifierMixin, values: Floats, labels: Labels, train: Indices, rows: Indices) -> Floats:
    """Probability of infiltration of some rows, by a model fitted to others."""
    return np.asarray(model.fit(values[train], labels[train]).predict_proba(values[rows])[:, 1])


def mean_auc(model: ClassifierMixin, values: Floats, labels: Labels, folds: Sequence[Fold]) -> float:
    """AUC in the test part, mean over folds.

    Not pooled: without anything to find, the more positives a test part has the fewer the training part had, and that
    alone pushes a pooled AUC below 0.5.
    """
    return float(np.mean([forest.held_out_auc(model, values, labels, f.train, f.test) for f in folds]))


def thirteen(texture: pd.DataFrame) -> Floats:
    """Features of the paper's forest without a choice: the grid's middle combination, Nakagami and first-order.

    Parameters
    ----------
    texture : (n, ...) the texture table

    Returns
    -------
    (n, 13)
    """
    columns = forest.glcm_columns(texture)
    combinations = columns[forest.COMBINATION].drop_duplicates()
    middle = combinations.iloc[len(combinations) // 2]
    six = columns.index[(columns[forest.COMBINATION] == middle).all(axis=1)]
    return texture[[*six, *forest.OTHER_FEATURES]].to_numpy(float)


# Where the numbers of a row come from: the study's cohort, real or phantom, or a random generator alone.
COHORT, PERMUTED, SIMULATED = "cohort", "cohort, permuted labels", "simulated"
# ``se``: of the difference of both ways with patients as clusters, where it is known.
COLUMNS = ["data", "case", "way", "right", "repetition", "value", "note", "se"]

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Job:
    """One repetition of one case of an experiment.

    Parameters
    ----------
    data : `COHORT`, `PERMUTED` or `SIMULATED`
    case : what the ways are compared on
    repetition : from 0
    detail : what sets the case apart, where a number says it
    """

    data: str
    case: str
    repetition: int
    detail: float = 0.0

    def rows(self, ways: Sequence[str], values: Iterable[float], note: str = "", se: float = np.nan) -> Rows:
        """A row for the wrong way and one for the right one."""
        found = []
        for way, value in zip(ways, values, strict=True):
            of_way = (self.data, self.case, way, way == ways[1], self.repetition, float(value), note, se)
            found.append(dict(zip(COLUMNS, of_way, strict=True)))
        return found


UNDIVIDED = "labels that cannot be divided"


@contextmanager
def dividing() -> Iterator[None]:
    """Mark what the folds refuse, so that `collected` knows it from other errors."""
    try:
        yield
    except InputError as error:
        error.add_note(UNDIVIDED)
        raise


@dataclass(frozen=True, eq=False)
class Data:
    """What every repetition of an experiment needs.

    Parameters
    ----------
    values : (n, ...) of the study's segments
    labels : (n,) 0 or 1
    keys : (n, ...) with KEY
    settings, seed, n_folds : of the experiment
    """

    values: Floats
    labels: Labels
    keys: pd.DataFrame
    settings: PitfallsSettings
    seed: int
    n_folds: int

    @property
    def own(self) -> Segments:
        """The study's segments."""
        return Segments(self.values, self.labels, pd.factorize(self.keys["participant_id"])[0])

    def rng(self, job: Job) -> np.random.Generator:
        """Random numbers of one repetition."""
        return np.random.default_rng([self.seed, job.repetition, round(1000 * job.detail)])

    def folds(self, of: Segments, job: Job, split: Split = "patient") -> list[Fold]:
        """The folds of one repetition."""
        with dividing():
            return division.make(
                of.labels, of.patients, n_folds=self.n_folds, split=split, seed=self.seed, repeat=job.repetition
            )


def collected(
    function: Callable[[Job], Rows], jobs: Sequence[Job], workers: int, ways: Sequence[str], label: str
) -> pd.DataFrame:
    """The rows of every job in the order of the jobs.

    Labels that cannot be divided into folds leave rows without a value, and with the reason as their note.

    Parameters
    ----------
    function : what makes the rows of a job; every process must be able to import it
    jobs, workers : repetitions; processes
    ways : the wrong way and the right one
    label : what the progress line counts
    """
    attempts = parallel.in_order(_attempted, (function, ways), jobs, label, workers=workers)
    return pd.DataFrame([row for rows in attempts for row in rows], columns=COLUMNS)


def _attempted(shared: tuple[Callable[[Job], Rows], Sequence[str]], job: Job) -> Rows:
    function, ways = shared
    try:
        return function(job)
    except InputError as error:
        if UNDIVIDED not in getattr(error, "__notes__", ()):
            raise
        return job.rows(ways, (np.nan, np.nan), note=str(error))


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """The wrong way beside the right one, a row per case.

    Parameters
    ----------
    table : with `COLUMNS`, a wrong and a right way in each case

    Returns
    -------
    DataFrame
        ``data``, ``case``, ``wrong_way``, ``wrong`` and ``wrong_sd`` (mean and SD over repetitions, ddof 1; NaN below
        two), the same for ``right``, ``difference`` (wrong - right), ``note`` (why there are no values, NaN then).
    """
    rows = []
    for case, ways in table.groupby("case", sort=False):
        row: dict[str, Any] = {"data": " against ".join(dict.fromkeys(ways["data"])), "case": case}
        for name, right in (("wrong", False), ("right", True)):
            way = ways[ways["right"] == right]
            row |= {f"{name}_way": way["way"].iloc[0], name: way["value"].mean(), f"{name}_sd": way["value"].std()}
        notes = "; ".join(dict.fromkeys(filter(None, ways["note"])))
        rows.append(row | {"difference": row["wrong"] - row["right"], "note": notes})
    return pd.DataFrame(rows)


def overview(experiments: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The differences of several experiments, one below the other.

    Parameters
    ----------
    experiments : tables with `COLUMNS` by the name of the experiment
    """
    tables = {name: differences(table) for name, table in experiments.items()}
    return pd.concat(tables, names=["experiment"]).reset_index(level="experiment").reset_index(drop=True)


def in_words(table: pd.DataFrame, name: str = "AUC") -> str:
    """What an experiment found, a line of a Markdown list per case: the wrong way, the right way, the difference.

    Cases that could not be made share a line for each reason.

    Parameters
    ----------
    table : as for `differences`
    name : what the values are
    """
    found = differences(table)
    made = found["difference"].notna()
    lines = [_line(row, name) for row in found[made].to_dict("records")]
    for reason, rows in found[~made].groupby("note", sort=False):
        cases = "; ".join(f"{case} ({data})" for case, data in zip(rows["case"], rows["data"], strict=True))
        lines.append(f"- Not made: {cases}. {reason}")
    return "\n".join(lines)


def _line(row: dict[str, Any], name: str) -> str:
    place = f"- {row['case']} ({row['data']}): "
    ways = [f"{_spread(row[way], row[f'{way}_sd'])} {row[f'{way}_way']}" for way in ("wrong", "right")]
    return f"{place}{name} {', '.join(ways)}; difference **{row['difference']:+.2f}**. {row['note']}".rstrip()


def _spread(mean: float, sd: float) -> str:
    return f"{mean:.2f}" if np.isnan(sd) else f"{mean:.2f} ± {sd:.2f}"
