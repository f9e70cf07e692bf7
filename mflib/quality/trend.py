"""Whether brightness follows the order or the place of acquisition; patients are the units, not their segments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

VOXELS = {"roi_mean_raw": "as recorded", "roi_mean": "gain-normalised"}
RESAMPLES = 9999
FEWEST = 5  # patients for an order, and for all sites together


def drift(table: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Intensity of the region of interest by order of acquisition and by site.

    Parameters
    ----------
    table : of ``measure``; only annotated volumes count
    seed : of the permutations of patients

    Returns
    -------
    DataFrame
        ``by``, ``voxels``, ``statistic``, ``value``, ``p`` (two-sided), ``patients``, ``note``. By order: Spearman's
        rho of the patients' means, P by permutation of patients. By site: Kruskal-Wallis over the patients' means.
        Where it cannot be computed, the note says why.
    """
    used = table[table["status"] == "annotated"]
    rows = [_row("order of acquisition", column, result) for column, result in _by_order(used, seed)]
    rows += [_row("site", column, result) for column, result in _by_site(used)]
    return pd.DataFrame(rows, columns=["by", "voxels", "statistic", "value", "p", "patients", "note"])


def patients(used: pd.DataFrame, column: str) -> pd.DataFrame:
    """Mean of a column, first day and site of each patient who has a value."""
    by = used.dropna(subset=column).groupby("participant_id")
    return by.agg(mean=(column, "mean"), day=("day", "min"), site=("site", "first"))


def _row(by: str, column: str, result: Mapping[str, Any]) -> dict[str, Any]:
    return {"by": by, "voxels": VOXELS[column], "value": np.nan, "p": np.nan, "note": "", **result}


def _by_order(used: pd.DataFrame, seed: int) -> Iterator[tuple[str, dict[str, Any]]]:
    for column in VOXELS:
        timed = patients(used, column).dropna(subset="day")
        result: dict[str, Any] = {"statistic": "Spearman rho", "patients": len(timed)}
        if used["day"].notna().sum() == 0:
            yield column, result | {"note": "no acq_time in any sub-*/sub-*_scans.tsv"}
        elif len(timed) < FEWEST:
            yield column, result | {"note": f"{len(timed)} patients with a time, fewer than {FEWEST}"}
        elif timed["mean"].nunique() == 1 or timed["day"].nunique() == 1:
            yield column, result | {"note": "all times, or all means, are the same"}
        else:
            yield column, result | _spearman(timed, seed)


def _spearman(timed: pd.DataFrame, seed: int) -> dict[str, float]:
    order, mean = (stats.zscore(stats.rankdata(timed[name])) for name in ("day", "mean"))
    test = stats.permutation_test(
        (order,),
        lambda ranks, axis: (ranks * mean).mean(axis=axis),
        permutation_type="pairings",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(seed),
    )
    return {"value": float(test.statistic), "p": float(test.pvalue)}


def _by_site(used: pd.DataFrame) -> Iterator[tuple[str, dict[str, Any]]]:
    for column in VOXELS:
        placed = patients(used, column).dropna(subset="site")
        groups = [group["mean"] for _, group in placed.groupby("site")]
        result: dict[str, Any] = {"statistic": "Kruskal-Wallis H", "patients": len(placed)}
        if placed.empty:
            yield column, result | {"note": "no site in participants.tsv"}
        elif len(groups) == 1:
            yield column, result | {"note": f"one site, {placed['site'].iloc[0]}"}
        elif len(placed) < FEWEST or placed["mean"].nunique() == 1:
            yield column, result | {"note": f"{len(placed)} patients at {len(groups)} sites are too few"}
        else:
            h, p = stats.kruskal(*groups)
            yield column, result | {"value": float(h), "p": float(p), "note": f"{len(groups)} sites"}
