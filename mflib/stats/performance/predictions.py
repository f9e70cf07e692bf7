"""The predictions table: its columns, its faults, its models and runs; numbers as a reader wants them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mflib.base.errors import InputError
from mflib.base.words import KEY, LABELS, LEVELS, SIDES, label

RUN = ["model", "split", "repeat"]
COLUMNS = [*KEY, *RUN, "fold", "y_true", "score", "threshold"]
# Of a score calibrated on its fold's validation part; a table may lack it, and so may a model of it.
PROBABILITY = "probability"
_ALLOWED = {"level": LEVELS, "lat": SIDES, "split": ("patient", "segment"), "y_true": (0, 1)}
_SHOWN = 20  # faults spelled out in one message
_LARGEST = 2**53  # from here on floats skip whole numbers


def models(predictions: pd.DataFrame) -> list[str]:
    """The models of a predictions table: the study's own in their order, then anybody's by name."""
    present = set(predictions["model"])
    return [model for model in LABELS if model in present] + sorted(present - set(LABELS))


def validate(predictions: pd.DataFrame) -> pd.DataFrame:
    """The predictions table with its columns in order, its numbers as numbers and its names as text.

    Returns
    -------
    DataFrame
        A copy with ``COLUMNS``, and ``probability`` where there is one, and a fresh index; other columns are left out.

    Raises
    ------
    InputError
        No rows, missing columns, missing or unknown values, non-finite scores or thresholds, or a segment that occurs
        twice for one model, split and repeat. Each fault names its row (0-based) and column.
    """
    absent = [column for column in COLUMNS if column not in predictions.columns]
    if absent or predictions.empty:
        raise InputError(f"found {len(predictions)} rows without the columns {absent}, expected rows with {COLUMNS}")
    found = faults(predictions, [f"row {row}" for row in range(len(predictions))])
    if found:
        raise InputError(f"{len(found)} faults in the predictions table:\n" + listed(found))
    return _typed(predictions).astype({"repeat": int, "fold": int, "y_true": int})


def faults(predictions: pd.DataFrame, places: Sequence[str]) -> list[str]:
    """Every value that a table with all ``COLUMNS`` may not hold, column by column, with the words for its row."""
    table = _typed(predictions)
    checks = {column: (np.isfinite(table[column]), "a finite number") for column in ("score", "threshold")}
    whole = {column: (table[column] % 1 == 0) & (table[column].abs() < _LARGEST) for column in ("repeat", "fold")}
    checks |= {column: (right, "a whole number below 2^53") for column, right in whole.items()}
    if PROBABILITY in table:
        given = predictions[PROBABILITY].reset_index(drop=True).replace("", np.nan).notna()
        alike = given.groupby([table[column] for column in RUN], dropna=False).transform("nunique") == 1
        right = alike & (~given | table[PROBABILITY].between(0, 1))
        checks[PROBABILITY] = (right, "a number from 0 to 1 in every row of its model, or in none")
    checks |= {column: (table[column].fillna("") != "", "a name") for column in ("participant_id", "model")}
    checks |= {column: (table[column].isin(allowed), f"one of {allowed}") for column, allowed in _ALLOWED.items()}
    found = [
        f"{places[row]}, {column}: found {str(predictions[column].iloc[row]) or 'nothing'}, expected {expected}"
        for column, (right, expected) in checks.items()
        for row in np.flatnonzero(~right).tolist()
    ]
    doubled = np.flatnonzero(table.duplicated([*KEY, *RUN])).tolist()
    expected = "one row per model, split and repeat"
    return found + [f"{places[n]}, key: found {table.loc[n, KEY].tolist()} again, expected {expected}" for n in doubled]


def listed(lines: list[str]) -> str:
    """Lines under each other, and how many more there are."""
    more = f"\n... and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return "\n".join(lines[:_SHOWN]) + more


def runs(table: pd.DataFrame) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    """Each model, split and repeat, and its rows with an index of their own; in the order of ``models``."""
    for model in models(table):
        for (split, repeat), rows in table[table["model"] == model].groupby(["split", "repeat"], sort=True):
            yield {"model": model, "split": split, "repeat": int(repeat)}, rows.reset_index(drop=True)


def check_one_run(table: pd.DataFrame, what: str) -> None:
    """Refuse several splits or repeats of what is named, or none."""
    found = table[["split", "repeat"]].drop_duplicates()
    if len(found) != 1:
        raise InputError(f"found {found.to_dict('records')}, expected one split and repeat of {what}")


def paired(table: pd.DataFrame, model_a: str, model_b: str) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    """Each split and repeat that both models scored, and its segments with the suffixes ``_a`` and ``_b``."""
    of_model = {m: dict(iter(table[table["model"] == m].groupby(["split", "repeat"]))) for m in (model_a, model_b)}
    common = sorted(of_model[model_a].keys() & of_model[model_b].keys())
    if not common:
        found = "; ".join(f"{model} in {sorted(its_runs)}" for model, its_runs in of_model.items())
        raise InputError(f"found {found}; expected a split and repeat that both models scored")
    for split, repeat in common:
        a, b = of_model[model_a][split, repeat], of_model[model_b][split, repeat]
        check_same_segments(pd.concat([a, b]))
        both = a.merge(b, on=KEY, suffixes=("_a", "_b"), validate="one_to_one")
        yield {"split": split, "repeat": int(repeat)}, both


def together(table: pd.DataFrame) -> Iterator[tuple[dict[str, object], pd.DataFrame, pd.DataFrame, pd.DataFrame]]:
    """Each split and repeat, its segments with KEY and ``y_true``, their scores and folds with a column per model."""
    for (split, repeat), rows in table.groupby(["split", "repeat"], sort=True):
        check_same_segments(rows)
        wide = rows.pivot(index=[*KEY, "y_true"], columns="model", values=["score", "fold"])
        scores, folds = (wide[values][models(rows)] for values in ("score", "fold"))
        yield {"split": split, "repeat": int(repeat)}, scores.index.to_frame(index=False), scores, folds


def check_same_segments(rows: pd.DataFrame) -> None:
    """Refuse models of one split and repeat that scored different segments, or with different labels."""
    named = set(rows["model"])
    segments = rows.groupby(KEY, sort=True)
    scored, labels = segments["model"].agg(set), segments["y_true"].nunique()
    lacking = [(key, f"not by {', '.join(sorted(named - of))}") for key, of in scored.items() if of != named]
    differing = [(key, "labels 0 and 1") for key in labels.index[labels > 1]]
    for wrong, fault in ((lacking, "not scored by every model"), (differing, "with different labels")):
        if wrong:
            first = "; ".join(f"{' '.join(key)} ({why})" for key, why in wrong[:3])
            where = f"split {rows['split'].iloc[0]}, repeat {rows['repeat'].iloc[0]}"
            raise InputError(f"{where}: found {len(wrong)} segments {fault}, the first {first}; expected none")


def _typed(predictions: pd.DataFrame) -> pd.DataFrame:
    """``COLUMNS`` and any ``probability``, names as text; what is no number in a column of numbers is NaN."""
    table = predictions[[*COLUMNS, *([PROBABILITY] if PROBABILITY in predictions else [])]].reset_index(drop=True)
    table = table.astype(dict.fromkeys(("participant_id", "model", "split"), str))
    for column in ("repeat", "fold", "y_true", "score", "threshold", *table.columns[len(COLUMNS) :]):
        table[column] = pd.to_numeric(table[column], errors="coerce").astype(np.float64)
    return table


def undefined(note: str, names: Sequence[str] = ("value", "low", "high")) -> dict[str, object]:
    """Numbers that there are not, and why."""
    return {**dict.fromkeys(names, np.nan), "note": note}


def p_value(p: float) -> str:
    """A P value in words."""
    return "P undefined" if pd.isna(p) else "P < 0.001" if p < 0.001 else f"P = {p:.3f}"


def estimate(row: Mapping[str, Any] | pd.Series, value: str, form: str = ".2f", ends: str = "") -> str:
    """``0.71 [0.63, 0.78]``; without brackets where there is no interval, n/a where there is no value.

    Parameters
    ----------
    row : with ``low`` and ``high``
    value : name of the estimate
    form : of each number
    ends : what the names ``low`` and ``high`` begin with
    """
    if pd.isna(row[value]):
        return "n/a"
    low, high = row[f"{ends}low"], row[f"{ends}high"]
    interval = "" if pd.isna(low) or pd.isna(high) else f" [{low:{form}}, {high:{form}}]"
    return f"{row[value]:{form}}{interval}"


def with_interval(table: pd.DataFrame, value: str, ends: str = "") -> pd.Series:
    """Each row as ``estimate`` writes it."""
    texts = [estimate(row, value, ends=ends) for row in table.to_dict("records")]
    return pd.Series(texts, index=table.index, dtype=object)


def by_model(table: pd.DataFrame, columns: str, rows: str | None = None, value: str = "value") -> pd.DataFrame:
    """A long table with a row for each model: its estimates with their intervals side by side, and the notes.

    Parameters
    ----------
    table : ``model``, ``low``, ``high``, ``note``, and what the other arguments name, of one split and repeat
    columns : whose values become the columns, in the order in which they occur
    rows : whose values tell apart the rows of one model, if there are several
    value : the estimate
    """
    keys = ["model", *([rows] if rows else [])]
    rank = {model: place for place, model in enumerate(models(table))}
    table = table.sort_values("model", key=lambda names: names.map(rank), kind="stable")
    names = table["model"].map(label)
    texts = table.assign(text=with_interval(table, value), model=names)
    wide = texts.pivot(index=keys, columns=columns, values="text")
    order = texts[keys].drop_duplicates()
    wide = wide.loc[pd.MultiIndex.from_frame(order) if rows else order["model"], list(dict.fromkeys(table[columns]))]
    notes = texts.groupby(keys)["note"].agg(lambda all_notes: "; ".join(dict.fromkeys(filter(None, all_notes))))
    wide = wide.rename(columns=str).rename_axis(columns=None)
    return (wide.assign(note=notes) if notes.any() else wide).reset_index()


def side_by_side(both: pd.DataFrame) -> pd.DataFrame:
    """The table of ``both_ways`` for a reader: two intervals, two P values, and how the width changes."""
    naive = with_interval(both, "estimate", "naive_")
    clustered = with_interval(both, "estimate")
    return pd.DataFrame(
        {
            "quantity": both["quantity"],
            "segments as independent": naive + both["naive_p"].map(_p),
            "patients as units": clustered + both["p"].map(_p),
            "times as wide": both["width"].map(lambda width: "n/a" if pd.isna(width) else f"{width:.2f}"),
        }
    )


def _p(value: float) -> str:
    return "" if pd.isna(value) else f", {p_value(value)}"
