"""Numbers as a reader wants them: an estimate with its interval, a row per model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mflib.performance.table import LABELS, models


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
    names = table["model"].map(lambda name: LABELS.get(name, name))
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
