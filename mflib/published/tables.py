"""The paper's tables and claims, as they are printed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).parents[2] / "data" / "published"


def read(name: str) -> pd.DataFrame:
    """One of the paper's tables by its file name without suffix, such as ``table1_cohort``."""
    return pd.read_csv(FOLDER / f"{name}.csv")


def claim(place: str, name: str) -> str:
    """What the paper's text says at ``place`` of ``name``.

    Raises
    ------
    KeyError
        The paper makes no such claim there.
    """
    claims = read("claims").set_index(["place", "claim"])["value"]
    return str(claims[place, name])


def cohort_counts() -> tuple[int, int]:
    """Segments with and without infiltration, from the counts of table 1."""
    counts = read("table1_cohort").set_index("variable")["value"].str.extract(r"^(\d+)")[0]
    return int(counts["fat infiltration"]), int(counts["no fat infiltration"])


def infiltrated_share() -> float:
    """Share of the paper's segments with infiltration."""
    with_fat, without = cohort_counts()
    return with_fat / (with_fat + without)
