"""Numbers as a reader wants them: an estimate with its interval, a row per model."""

from __future__ import annotations

import pandas as pd

from mflib.performance.table import LABELS, models


def with_interval(table: pd.DataFrame, value: str = "value", low: str = "low", high: str = "high") -> pd.Series:
    """Each row as ``0.71 [0.63, 0.78]``; without brackets where there is no interval, n/a where there is no value."""

    def text(row: pd.Series) -> str:
        if pd.isna(row[value]):
            return "n/a"
        interval = "" if pd.isna(row[low]) or pd.isna(row[high]) else f" [{row[low]:.2f}, {row[high]:.2f}]"
        return f"{row[value]:.2f}{interval}"

    return table.apply(text, axis=1).astype(str)


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
    naive = with_interval(both, "estimate", "naive_low", "naive_high")
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
    if pd.isna(value):
        return ""
    return ", P < 0.001" if value < 0.001 else f", P = {value:.3f}"
