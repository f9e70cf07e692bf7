"""The table that experiments share: one row per repetition and way, and what it says in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from mflib import parallel
from mflib.folds import FoldsError
from mflib.progress import Progress

# Where the numbers of a row come from: the study's cohort, real or phantom, or a random generator alone.
COHORT, PERMUTED, SIMULATED = "cohort", "cohort, permuted labels", "simulated"
COLUMNS = ["data", "case", "way", "right", "repetition", "value", "note"]

Shared = TypeVar("Shared")


class PitfallsError(ValueError):
    """Data or arguments that an experiment cannot use; the message says what was found and what was expected."""


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

    def row(self, way: str, value: float, *, right: bool, note: str = "") -> dict[str, Any]:
        """A row of the shared table."""
        values = (self.data, self.case, way, right, self.repetition, value, note)
        return dict(zip(COLUMNS, values, strict=True))


Rows = list[dict[str, Any]]


def collected(
    function: Callable[[Shared, Job], Rows],
    shared: Shared,
    jobs: Sequence[Job],
    workers: int,
    ways: Sequence[str],
    label: str,
) -> pd.DataFrame:
    """The rows of every job in the order of the jobs.

    Labels that cannot be divided into folds leave rows without a value, and with the reason as their note.

    Parameters
    ----------
    function, shared, jobs, workers : as in `parallel.outcomes`
    ways : the wrong way and the right one
    label : what the progress line counts
    """
    done: dict[int, Rows] = {}
    progress = Progress(label, len(jobs))
    for position, outcome in parallel.outcomes(function, shared, jobs, workers=workers):
        if isinstance(outcome, FoldsError):
            unknown = dict(zip(ways, (False, True), strict=True)).items()
            done[position] = [jobs[position].row(way, np.nan, right=r, note=str(outcome)) for way, r in unknown]
        elif isinstance(outcome, Exception):
            raise outcome
        else:
            done[position] = outcome
        progress.advance()
    return pd.DataFrame([row for n in range(len(jobs)) for row in done[n]], columns=COLUMNS)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread of every way of every case.

    Parameters
    ----------
    table : with `COLUMNS`

    Returns
    -------
    DataFrame
        ``data``, ``case``, ``way``, ``right``, ``repetitions`` (those with a value), ``mean``, ``sd`` (over
        repetitions, ddof 1; NaN below two), ``note`` (why values are missing).
    """
    ways = table.groupby(COLUMNS[:4], sort=False)
    found = ways.agg(repetitions=("value", "count"), mean=("value", "mean"), sd=("value", "std"))
    notes = ways["note"].agg(lambda notes: "; ".join(dict.fromkeys(note for note in notes if note)))
    return found.assign(note=notes).reset_index()


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """The wrong way beside the right one, a row per case.

    Parameters
    ----------
    table : with `COLUMNS`, a wrong and a right way in each case

    Returns
    -------
    DataFrame
        ``data``, ``case``, ``wrong_way``, ``wrong`` and ``wrong_sd`` (mean and SD over repetitions), the same for
        ``right``, ``difference`` (wrong - right), ``note`` (why there are no values, NaN then).
    """
    rows = []
    for case, ways in summary(table).groupby("case", sort=False):
        row: dict[str, Any] = {"data": " against ".join(dict.fromkeys(ways["data"])), "case": case}
        for name, right in (("wrong", False), ("right", True)):
            way = ways[ways["right"] == right].iloc[0]
            row |= {f"{name}_way": way["way"], name: way["mean"], f"{name}_sd": way["sd"]}
        notes = "; ".join(dict.fromkeys(note for note in ways["note"] if note))
        rows.append(row | {"difference": row["wrong"] - row["right"], "note": notes})
    return pd.DataFrame(rows)


def overview(experiments: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The differences of several experiments, one below the other.

    Parameters
    ----------
    experiments : tables with `COLUMNS` by the name of the experiment
    """
    tables = [differences(table).assign(experiment=name) for name, table in experiments.items()]
    joined = pd.concat(tables, ignore_index=True)
    return joined[["experiment", *joined.columns.drop("experiment")]]


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
