"""The predictions table: its columns, what is wrong with one, and the models and runs in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mflib.volume import KEY, LEVELS, SIDES

LABELS = {
    "random_forest": "Random forest",
    "dcnn": "3D network",
    "echo_intensity": "Echo intensity alone",
    "clinical": "Age, sex and BMI",
}
RUN = ["model", "split", "repeat"]
COLUMNS = [*KEY, *RUN, "fold", "y_true", "score", "threshold"]
_ALLOWED = {"level": LEVELS, "lat": SIDES, "split": ("patient", "segment"), "y_true": (0, 1)}
_SHOWN = 20  # faults spelled out in one message
_LARGEST = 2**53  # from here on floats skip whole numbers


class PredictionsError(ValueError):
    """A predictions table that cannot be used; the message lists each fault with its row and column."""


@dataclass(frozen=True)
class Fault:
    """One value that a predictions table may not hold.

    Parameters
    ----------
    row : 0-based position
    column : of the table, or "key"
    found, expected : in words
    """

    row: int
    column: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"row {self.row}, {self.column}: found {self.found}, expected {self.expected}"


def models(predictions: pd.DataFrame) -> list[str]:
    """The models of a predictions table: the study's own in their order, then anybody's by name."""
    present = set(predictions["model"])
    return [model for model in LABELS if model in present] + sorted(present - set(LABELS))


def validate(predictions: pd.DataFrame) -> pd.DataFrame:
    """The predictions table with its columns in order, its numbers as numbers and its names as text.

    Returns
    -------
    DataFrame
        A copy with ``COLUMNS`` and a fresh index; other columns are left out.

    Raises
    ------
    PredictionsError
        No rows, missing columns, missing or unknown values, non-finite scores or thresholds, or a segment that occurs
        twice for one model, split and repeat. Each fault names its row (0-based) and column.
    """
    absent = [column for column in COLUMNS if column not in predictions.columns]
    if absent or predictions.empty:
        raise PredictionsError(
            f"found {len(predictions)} rows without the columns {absent}, expected rows with {COLUMNS}"
        )
    found = faults(predictions)
    if found:
        raise PredictionsError(f"{len(found)} faults in the predictions table:\n" + listed([str(f) for f in found]))
    return _typed(predictions).astype({"repeat": int, "fold": int, "y_true": int})


def faults(predictions: pd.DataFrame) -> list[Fault]:
    """Every value that a table with all ``COLUMNS`` may not hold, column by column."""
    table = _typed(predictions)
    checks = {column: (np.isfinite(table[column]), "a finite number") for column in ("score", "threshold")}
    whole = {column: (table[column] % 1 == 0) & (table[column].abs() < _LARGEST) for column in ("repeat", "fold")}
    checks |= {column: (right, "a whole number below 2^53") for column, right in whole.items()}
    checks |= {column: (table[column].fillna("") != "", "a name") for column in ("participant_id", "model")}
    checks |= {column: (table[column].isin(allowed), f"one of {allowed}") for column, allowed in _ALLOWED.items()}
    found = [
        Fault(int(row), column, str(predictions[column].iloc[row]) or "nothing", expected)
        for column, (right, expected) in checks.items()
        for row in np.flatnonzero(~right)
    ]
    doubled = np.flatnonzero(table.duplicated([*KEY, *RUN]))
    return found + [
        Fault(int(row), "key", f"{table.loc[row, KEY].tolist()} again", "one row per model, split and repeat")
        for row in doubled
    ]


def listed(lines: list[str]) -> str:
    """Lines under each other, and how many more there are."""
    more = f"\n... and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return "\n".join(lines[:_SHOWN]) + more


def runs(table: pd.DataFrame) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    """Each model, split and repeat of a valid table, and its rows; the models in the order of ``models``."""
    for model in models(table):
        for (split, repeat), rows in table[table["model"] == model].groupby(["split", "repeat"], sort=True):
            yield {"model": model, "split": split, "repeat": int(repeat)}, rows


def paired(table: pd.DataFrame, model_a: str, model_b: str) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    """Each split and repeat that both models scored, and its segments with the suffixes ``_a`` and ``_b``.

    Parameters
    ----------
    table : as ``validate`` gives it
    model_a, model_b : the two models

    Raises
    ------
    PredictionsError
        No split and repeat in common; or segments that only one of the two scored, or that carry different labels.
    """
    of_model = {
        model: dict(iter(table[table["model"] == model].groupby(["split", "repeat"]))) for model in (model_a, model_b)
    }
    common = sorted(of_model[model_a].keys() & of_model[model_b].keys())
    if not common:
        found = "; ".join(f"{model} in {sorted(its_runs)}" for model, its_runs in of_model.items())
        raise PredictionsError(f"found {found}; expected a split and repeat that both models scored")
    for split, repeat in common:
        a, b = of_model[model_a][split, repeat], of_model[model_b][split, repeat]
        check_same_segments(pd.concat([a, b]))
        both = a.merge(b, on=KEY, suffixes=("_a", "_b"), validate="one_to_one")
        yield {"split": split, "repeat": int(repeat)}, both


def together(table: pd.DataFrame) -> Iterator[tuple[dict[str, object], pd.DataFrame, pd.DataFrame]]:
    """Each split and repeat, its segments with KEY and ``y_true``, and their scores with a column for each model.

    Parameters
    ----------
    table : as ``validate`` gives it

    Raises
    ------
    PredictionsError
        Segments that not every model of the split and repeat scored, or that carry different labels.
    """
    for (split, repeat), rows in table.groupby(["split", "repeat"], sort=True):
        check_same_segments(rows)
        scores = rows.pivot(index=[*KEY, "y_true"], columns="model", values="score")[models(rows)]
        yield {"split": split, "repeat": int(repeat)}, scores.index.to_frame(index=False), scores


def check_same_segments(rows: pd.DataFrame) -> None:
    """Refuse models of one split and repeat that scored different segments, or with different labels.

    Raises
    ------
    PredictionsError
        With the number of such segments and the first of them.
    """
    named = set(rows["model"])
    segments = rows.groupby(KEY, sort=True)
    scored, labels = segments["model"].agg(set), segments["y_true"].nunique()
    lacking = [(key, f"not by {', '.join(sorted(named - of))}") for key, of in scored.items() if of != named]
    differing = [(key, "labels 0 and 1") for key in labels.index[labels > 1]]
    for wrong, fault in ((lacking, "not scored by every model"), (differing, "with different labels")):
        if wrong:
            first = "; ".join(f"{' '.join(key)} ({why})" for key, why in wrong[:3])
            where = f"split {rows['split'].iloc[0]}, repeat {rows['repeat'].iloc[0]}"
            raise PredictionsError(f"{where}: found {len(wrong)} segments {fault}, the first {first}; expected none")


def _typed(predictions: pd.DataFrame) -> pd.DataFrame:
    """``COLUMNS`` with a fresh index, names as text; what is no number in a column of numbers is NaN."""
    table = predictions[COLUMNS].reset_index(drop=True).astype(dict.fromkeys(("participant_id", "model", "split"), str))
    for column in ("repeat", "fold", "y_true", "score", "threshold"):
        table[column] = pd.to_numeric(table[column], errors="coerce").astype(np.float64)
    return table
