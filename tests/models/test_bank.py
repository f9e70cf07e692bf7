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


def finer(cohort, rows):
    """The cohort with some volumes in voxels of half the size, each voxel eight times; nothing else changes."""
    segments = cohort.segments.copy()
    places = [f"{name}{axis}" for name in ("bone_", "shadow_", "roi_", "roi_n") for axis in "ijk"]
    segments.loc[rows, places] *= 2
    segments.loc[rows, list(cohorts.SPACING)] /= 2
    for path in segments.loc[rows, "path"]:
        volume = read(cohort.root / path)
        voxels = volume.voxels.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
        spacing = tuple(size / 2 for size in volume.spacing_mm)
        write(dataclasses.replace(volume, voxels=voxels, spacing_mm=spacing), cohort.root / path)
    return dataclasses.replace(cohort, segments=segments)


def test_one_voxel_size_undoes_a_finer_grid_and_leaves_grey_levels_alone(cohort, tmp_path):
    # A box of one voxel around each point finds the same references on both grids.
    once = preprocess.GainSettings(patch_mm=0.1)
    before = extract(cohort, tmp_path / "bank", preprocessing=once)
    mixed = finer(cohort, [1, 2])
    one = extract(mixed, tmp_path / "bank", preprocessing=once)
    of_glcm = before.columns.str.startswith("glcm_")
    recorded = dataclasses.replace(SETTINGS, voxel_mm="as-recorded")
    raw = extract(mixed, tmp_path / "bank", preprocessing=once, settings=recorded)
    pd.testing.assert_frame_equal(raw.loc[[0, 3]], before.loc[[0, 3]], check_exact=True)
    assert (raw.loc[[1, 2], of_glcm] != before.loc[[1, 2], of_glcm]).mean(axis=None) > 0.9
    assert list(one) == list(raw) == list(before)
    given = dataclasses.replace(SETTINGS, voxel_mm=(0.4, 0.4, 0.5))
    assert SETTINGS.for_cohort(mixed) == given
    segment = mixed.segments.iloc[1].to_dict()
    region = preprocess.region(mixed.volume(segment), mixed.annotation(segment), once)
    by_hand = glcm.features(region.voxels[::2, ::2, ::2], levels=[8, 32], steps=[1, 3])
    np.testing.assert_allclose(one.loc[1, by_hand.index].astype(float), by_hand, rtol=1e-12)
    pd.testing.assert_frame_equal(one.loc[:, ~of_glcm], raw.loc[:, ~of_glcm], check_exact=True)
    with pytest.raises(ValueError, match="without a cohort"):
        bank.measure(region.voxels, (0.2, 0.2, 0.25), 55, SETTINGS)
    alone = bank.measure_file(mixed.root / segment["path"], once, SETTINGS)
    assert "glcm_8_3_1.1.1_ASM" in alone


def test_steps_that_do_not_fit_into_the_larger_voxels_are_left_out(cohort, tmp_path):
    mixed = finer(cohort, [0])
    thin = mixed.segments.assign(roi_nk=[6, 14, 14, 14])
    table = extract(dataclasses.replace(mixed, segments=thin), tmp_path / "bank")
    assert list(table) == [*KEY, *SETTINGS.names((18, 18, 3))]
