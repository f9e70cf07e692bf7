"""Drift of brightness: patients are the units, and what nobody has stated is said, not guessed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mflib.data import cohort, quality

PER_PATIENT = 4


def made(slope: float, patients: int = 30, *, seed: int = 3) -> pd.DataFrame:
    """Annotated volumes whose recorded mean climbs by ``slope`` a day; segments of a patient are much alike."""
    rng = np.random.default_rng(seed)
    day = np.repeat(np.arange(patients, dtype=float) // 2, PER_PATIENT)  # two patients a day: ties
    own = np.repeat(rng.normal(70, 8, patients), PER_PATIENT) + rng.normal(0, 1, patients * PER_PATIENT)
    return pd.DataFrame(
        {
            "participant_id": np.repeat([f"sub-{n:02}" for n in range(patients)], PER_PATIENT),
            "status": "annotated",
            "day": day,
            "site": np.where(day % 2 == 0, "north", "south"),
            "roi_mean_raw": own + slope * day,
            "roi_mean": own,
        }
    )


def test_a_drift_is_found_where_it_was_planted() -> None:
    recorded, normalised, *_ = quality.drift(made(2.0)).to_dict("records")
    assert recorded["p"] < 0.001 < 0.05 < normalised["p"]
    assert recorded["value"] > 0.5


def test_values_are_those_of_the_patients_means() -> None:
    table = made(0.5)
    means = table.groupby("participant_id").agg({"roi_mean_raw": "mean", "day": "first", "site": "first"})
    by_order, _, by_site, _ = quality.drift(table).to_dict("records")
    spearman = stats.spearmanr(means["day"], means["roi_mean_raw"])
    assert by_order["value"] == pytest.approx(spearman.statistic)
    assert by_order["p"] == pytest.approx(spearman.pvalue, abs=0.02)
    north, south = (means.loc[means["site"] == site, "roi_mean_raw"] for site in ("north", "south"))
    assert (by_site["value"], by_site["p"]) == pytest.approx(tuple(stats.kruskal(north, south)))
    assert by_order["patients"] == by_site["patients"] == 30


def test_more_segments_of_the_same_patients_are_no_more_evidence() -> None:
    table = made(0.5)
    once, twice = quality.drift(table), quality.drift(pd.concat([table, table], ignore_index=True))
    pd.testing.assert_frame_equal(once, twice)


def test_without_an_effect_small_p_values_are_rare() -> None:
    p = np.array([quality.drift(made(0.0, 12, seed=seed))["p"] for seed in range(60)])
    assert ((p < 0.05).mean(axis=0) < 0.15).all()


def test_what_is_not_stated_is_said() -> None:
    bare = made(1.0).assign(day=np.nan, site=pd.Series(dtype="str"))
    result = quality.drift(bare)
    assert result[["value", "p"]].isna().all(axis=None)
    assert list(result["note"].unique()) == ["no time of acquisition in any scans.tsv", "no site in participants.tsv"]
    assert quality.drift(made(1.0).assign(site="here"))["note"].iloc[-1] == "one site, here"
    few = quality.drift(made(1.0, 3))["note"]
    assert list(few) == ["3 patients with a time, fewer than 5"] * 2 + ["3 patients at 2 sites are too few"] * 2
    assert len(quality.drift(bare[:0])) == 4


def test_days_come_from_the_scans_tables(make_cohort: Callable[..., Path]) -> None:
    root = make_cohort(patients=3)
    name = "us/sub-00{}_level-L23_lat-L_bmode.nii.gz"
    (root / "sub-001" / "sub-001_scans.tsv").write_text(
        f"filename\tacq_time\n{name.format(1)}\t1925-03-02T09:00:00\nus/other.nii.gz\tyesterday\nus/b.nii.gz\tn/a\n"
    )
    (root / "sub-002" / "sub-002_scans.tsv").write_text(
        f"acq_time\tfilename\n1925-03-03T23:00:00+02:00\t{name.format(2)}\n1925-03-03T23:00:00+02:00\n"
    )
    (root / "sub-003" / "sub-003_scans.tsv").write_text("filename\n" + name.format(3) + "\n")
    measured = quality.measure(cohort.read_folder(root), progress=False)
    first = measured.table.query("level == 'L23' and lat == 'L'")
    assert first["day"].tolist()[:2] == [0, 1.5]
    assert measured.table["day"].count() == 2
    assert measured.notes == [
        "sub-001/sub-001_scans.tsv: 'yesterday' is no time such as 2026-03-01T09:30:00",
        "sub-002/sub-002_scans.tsv, row 3: found no filename, expected one",
        "sub-003/sub-003_scans.tsv: cannot be read (found columns filename in row 1; expected acq_time once)",
    ]
    assert "1925" not in measured.table.to_csv()  # when a patient came is nobody else's business
