"""The bank on a small cohort of files: what is computed, what is kept, what is said of failures."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest

from mflib.base.errors import RunError
from mflib.base.words import KEY
from mflib.data import cohort as cohorts
from mflib.data import preprocess
from mflib.data.volume import read, write
from mflib.models.texture import bank, glcm, intensity

SETTINGS = bank.TextureSettings(levels=(8, 32), steps=(1, 3))


@pytest.fixture
def cohort(make_cohort):
    return cohorts.load(make_cohort(2, segments=2))


@pytest.fixture
def calls(monkeypatch):
    """Regions that the GLCM was asked for, with a limit after which the run is interrupted."""
    record = {"count": 0, "limit": 10**9}
    features = glcm.features

    def counted(*arguments, **options):
        if record["count"] >= record["limit"]:
            raise KeyboardInterrupt
        record["count"] += 1
        return features(*arguments, **options)

    monkeypatch.setattr(glcm, "features", counted)
    return record


def extract(cohort, cache, *, settings=SETTINGS, preprocessing=None, workers=1):
    return bank.extract(cohort, preprocessing or preprocess.GainSettings(), settings, cache, workers=workers)


def test_table_holds_what_the_families_measure(cohort, tmp_path):
    table = extract(cohort, tmp_path / "bank", settings=dataclasses.replace(SETTINGS, nakagami_input="grey"))
    pd.testing.assert_frame_equal(table[KEY], cohort.segments[KEY])
    row = cohort.segments.iloc[3].to_dict()
    region = preprocess.region(cohort.volume(row), cohort.annotation(row), preprocess.GainSettings())
    texture = glcm.features(region.voxels, levels=[8, 32], steps=[1, 3])
    assert list(table) == [*KEY, *texture.index, "nakagami_m", "nakagami_omega", *intensity.NAMES, "grey_levels"]
    np.testing.assert_array_equal(table.loc[3, texture.index].astype(float), texture)
    assert table.loc[3, "nakagami_m"] == intensity.fit(region.voxels, 55, input="grey").m
    assert table.loc[3, "first_order_mean"] == pytest.approx(region.voxels.mean())


def test_nakagami_takes_the_range_that_normalisation_left(cohort, tmp_path):
    dim, bright = (
        extract(cohort, tmp_path / "bank", preprocessing=preprocess.GainSettings(bright=bright))
        for bright in (150, 220)
    )
    np.testing.assert_allclose(dim["nakagami_m"], bright["nakagami_m"], rtol=0.1)
    assert (abs(dim["first_order_mean"] - bright["first_order_mean"]) > 10).all()


def test_processes_do_not_change_the_numbers(cohort, tmp_path):
    one = extract(cohort, tmp_path / "one")
    pd.testing.assert_frame_equal(one, extract(cohort, tmp_path / "two", workers=2), check_exact=True)


def test_interrupted_run_goes_on_and_a_second_run_computes_nothing(cohort, tmp_path, calls):
    calls["limit"] = 3
    with pytest.raises(KeyboardInterrupt):
        extract(cohort, tmp_path / "bank")
    calls["limit"] = 10**9
    first = extract(cohort, tmp_path / "bank")
    assert calls["count"] == 4
    pd.testing.assert_frame_equal(first, extract(cohort, tmp_path / "bank"), check_exact=True)
    assert calls["count"] == 4


def test_only_what_changed_is_computed_again(cohort, tmp_path, calls):
    def computed(cohort, **options):
        before = calls["count"]
        extract(cohort, tmp_path / "bank", **options)
        return calls["count"] - before

    assert computed(cohort) == 4
    first, second = (cohort.root / path for path in cohort.segments["path"].iloc[:2])
    volume = read(first)
    write(dataclasses.replace(volume, sidecar={**volume.sidecar, "DynamicRangeDB": 60}), first)
    assert computed(cohort) == 1
    volume = read(second)
    write(dataclasses.replace(volume, voxels=volume.voxels[::-1]), second)
    assert computed(cohort) == 1
    moved = cohort.segments.assign(roi_i=[10, 10, 9, 10])
    assert computed(dataclasses.replace(cohort, segments=moved)) == 1
    assert computed(cohort, settings=dataclasses.replace(SETTINGS, symmetric=False)) == 4
    assert computed(cohort, preprocessing=preprocess.GainSettings(dark=30)) == 4
    assert computed(cohort) == 0


def test_what_a_power_cut_left_is_computed_again(cohort, tmp_path, calls):
    extract(cohort, tmp_path / "bank")
    empty, short, _, _ = (tmp_path / "bank").glob("*.npy")
    empty.write_bytes(b"")
    short.write_bytes(short.read_bytes()[:500])
    extract(cohort, tmp_path / "bank")
    assert calls["count"] == 6


def test_a_full_disk_ends_the_run_and_keeps_what_was_measured(cohort, small_disk, tmp_path, calls):
    cache = small_disk / "bank"
    with pytest.raises(OSError, match=r"No space left .*\.npy"):
        extract(cohort, cache, settings=bank.TextureSettings())
    kept = sorted(cache.iterdir())
    assert 0 < len(kept) == calls["count"] - 1
    assert all(path.suffix == ".npy" and not path.name.startswith("partial-") for path in kept)
    room = tmp_path / "room"
    shutil.copytree(cache, room)
    table = extract(cohort, room, settings=bank.TextureSettings())
    assert calls["count"] - 1 == len(table) == 4
    pd.testing.assert_frame_equal(
        table, extract(cohort, tmp_path / "fresh", settings=bank.TextureSettings()), check_exact=True
    )


def test_regions_of_different_size_share_the_combinations_that_fit_all(cohort, tmp_path):
    thin = dataclasses.replace(cohort, segments=cohort.segments.assign(roi_nk=[14, 3, 14, 14], roi_nj=[18, 18, 2, 18]))
    table = extract(thin, tmp_path / "bank")
    assert list(table) == [*KEY, *SETTINGS.names((18, 2, 3))]
    assert np.isfinite(table.drop(columns=KEY).to_numpy(float)).all()
    whole = extract(cohort, tmp_path / "bank")
    pd.testing.assert_frame_equal(table.iloc[[0, 3]], whole.iloc[[0, 3]][list(table)], check_exact=True)


def test_failed_volumes_are_all_named_and_the_rest_is_kept(cohort, tmp_path, calls, capsys):
    paths = cohort.segments["path"]
    (cohort.root / paths[1]).unlink()
    broken = cohort.root / paths[2]
    broken.write_bytes(broken.read_bytes()[:2000])
    swapped = cohort.segments.copy()
    places = [f"{point}_{axis}" for point in ("bone", "shadow") for axis in "ijk"]
    swapped.loc[3, places] = swapped.loc[3, places[3:] + places[:3]].to_numpy()
    with pytest.raises(RunError, match="3 of 4 volumes") as caught:
        extract(dataclasses.replace(cohort, segments=swapped), tmp_path / "bank")
    _, *lines = str(caught.value).splitlines()
    reasons = dict(line.strip().split(": ", 1) for line in lines)
    assert set(reasons) == set(paths[1:])
    assert "FileNotFoundError" in reasons[paths[1]]
    assert "FileError" in reasons[paths[2]]
    assert "bone" in reasons[paths[3]]
    assert calls["count"] == 1
    assert f"texture of {broken.name}: FileError" in capsys.readouterr().out
    extract(dataclasses.replace(cohort, segments=cohort.segments.iloc[:1]), tmp_path / "bank")
    assert calls["count"] == 1
