"""The phantom: speckle against theory, tissue against its severity, the cohort against the paper, and real kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from mflib.base.errors import InputError
from mflib.base.words import KEY
from mflib.data import volume
from mflib.data.cohort import volume_path
from mflib.data.phantom import patients, simulation
from mflib.data.phantom.anatomy import Grid, Parameters, normal
from mflib.data.phantom.folder import make_plan, write_cohort
from mflib.data.phantom.simulation import simulate
from mflib.data.volume import Annotation, Volume


def speckle(level_db: float) -> NDArray[np.float64]:
    """Envelope of a tissue with no structure, away from the borders."""
    rng = np.random.default_rng(1)
    grid = Grid((96, 96, 48), 0.2)

    def diffuse(first: int, last: int) -> NDArray[np.float32]:
        return normal((last - first, 96, 2, 48), rng) * simulation.amplitude(level_db) * np.float32(np.sqrt(0.5))

    slabs = [signal for _, signal in simulation.beamform(diffuse, grid, widening=1.0)]
    signal_rows = np.concatenate(slabs).astype(float)
    assert len(signal_rows) == grid.rows
    return np.hypot(signal_rows[:, :, 0], signal_rows[:, :, 1])[16:-16]


def width(voxels: NDArray[np.uint8], axis: int) -> float:
    """Full width at half maximum, in voxels, of the autocorrelation along an axis within windows of 12 voxels."""
    windows = np.lib.stride_tricks.sliding_window_view(voxels.astype(float), 12, axis=axis)
    windows = windows - windows.mean(axis=-1, keepdims=True)
    lags = [np.mean(windows[..., : 12 - lag] * windows[..., lag:]) for lag in range(8)]
    correlation = np.array(lags) / lags[0]
    first = int(np.argmax(correlation < 0.5))
    return 2 * (first - (0.5 - correlation[first]) / (correlation[first - 1] - correlation[first]))


def muscle(simulated: Volume, marks: Annotation) -> NDArray[np.uint8]:
    """Voxels of a right-sided volume between fascia and lamina, lateral of the spinous process."""
    step = simulated.spacing_mm[0]
    i, j = marks.roi_start[0] + round(1 / step), marks.roi_start[1] + round(1 / step)
    return simulated.voxels[i : i + round(20 / step), j : j + round(18 / step)]


def test_speckle_without_structure_is_fully_developed() -> None:
    # Rayleigh envelope: Nakagami m = 1 and mean / SD = sqrt(pi / (4 - pi)) = 1.913 (Wagner 1983).
    envelope = speckle(-25)
    power = envelope**2
    assert power.mean() ** 2 / power.var() == pytest.approx(1.00, abs=0.02)
    assert envelope.mean() / envelope.std() == pytest.approx(1.91, abs=0.03)
    assert 10 * np.log10(power.mean()) == pytest.approx(-25, abs=0.3)


def test_speckle_is_coarsest_in_elevation_and_finest_in_depth() -> None:
    envelope = speckle(0)[100:140]
    depth, lateral, elevation = (width(envelope, axis) * step for axis, step in enumerate((0.1, 0.2, 0.2)))
    assert depth < lateral < elevation


def test_echo_grows_and_anisotropy_falls_with_severity() -> None:
    series = [muscle(*simulate(Parameters(severity), seed=3)) for severity in (0.0, 0.5, 1.0)]
    echo = [float(voxels.mean()) for voxels in series]
    lateral = [width(voxels, 0) for voxels in series]
    anisotropy = [width(voxels, 0) / width(voxels, 1) for voxels in series]
    assert echo[0] + 10 < echo[1] < echo[2] - 10
    assert lateral[0] > 1.2 * lateral[1] > 1.2 * lateral[2]
    assert anisotropy[0] > anisotropy[1] > anisotropy[2]


@pytest.mark.parametrize("severity", [0.0, 1.0])
def test_reference_points_are_bright_bone_and_dark_shadow(severity: float) -> None:
    simulated, marks = simulate(Parameters(severity), seed=5)
    bone, shadow = (np.median(simulated.patch(centre, 0.8)) for centre in (marks.bone, marks.shadow))
    between = np.median(muscle(simulated, marks))
    assert between + 60 < bone < 250
    assert 5 < shadow < 0.6 * between


def test_a_left_side_is_the_mirror_image_of_a_right_side() -> None:
    right, right_marks = simulate(Parameters(0.3, side="R"), seed=8)
    left, left_marks = simulate(Parameters(0.3, side="L"), seed=8)
    np.testing.assert_array_equal(left.voxels, right.voxels[::-1])
    np.testing.assert_array_equal(left.voxels[left_marks.roi], right.voxels[right_marks.roi][::-1])
    assert left.voxels[left_marks.bone] == right.voxels[right_marks.bone]


def test_wrong_parameters_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="severity is 2"):
        Parameters(2.0)
    with pytest.raises(ValueError, match="phantom profile is 'huge', expected one of quick, paper"):
        simulate(Parameters(0.1), 1, "huge")


def test_population_follows_table_1() -> None:
    people = patients.population(20_000, np.random.default_rng(4))
    means = people[["age", "height_cm", "weight_kg", "bmi", "vas"]].agg(["mean", "std"]).T
    paper = pd.DataFrame({"mean": [32.2, 169.5, 66.9, 23.17, 3.6], "std": [9.8, 7.9, 13.3, 3.76, 1.8]})
    np.testing.assert_allclose(means["mean"], paper["mean"], rtol=0.02)
    np.testing.assert_allclose(means["std"], paper["std"], rtol=0.06)
    quartiles = people[["pain_months", "bed_rest_months", "exercise_hours"]].quantile([0.25, 0.5, 0.75])
    np.testing.assert_allclose(quartiles.to_numpy().T, [[1, 12, 32], [1, 2, 3], [1, 2, 3]], atol=1.1)
    shares = people[["sedentary", "labour", "night_shift"]].eq("yes").mean()
    np.testing.assert_allclose(shares, [26 / 46, 16 / 46, 11 / 46], atol=0.02)
    assert people["bmi"].corr(people["vas"]) == pytest.approx(0.42, abs=0.03)
    np.testing.assert_allclose(people["bmi"], people["weight_kg"] / (people["height_cm"] / 100) ** 2, atol=0.006)


def test_screening_leaves_the_analysed_and_names_the_excluded() -> None:
    people = patients.screened(46, np.random.default_rng(2))
    analysed, excluded = people.head(46), people.iloc[46:]
    assert (analysed["screening"] == "eligible").all()
    assert (analysed["bmi"] < 28).all() and analysed["age"].between(18, 80).all()
    assert (excluded["bmi"] >= 28).sum() == 3
    assert excluded.loc[excluded["bmi"] < 28, "screening"].value_counts().to_dict() == patients.SCREENED_OUT
    assert people["participant_id"].is_unique


@pytest.mark.parametrize("seed", [20, 21, 22])
def test_grades_fill_the_quotas_and_readers_agree_as_readers_do(seed: int) -> None:
    table = make_plan("quick", 46, seed).tables["phenotype/mri_grades"]
    assert table["grade_final"].value_counts().sort_index().tolist() == [208, 87, 48, 25]
    agreed = table["grade_reader1"] == table["grade_reader2"]
    assert table["grade_adjudicator"].isna().equals(agreed)
    assert (table["grade_reader1"] == table["grade_final"])[agreed].all()
    assert 0.68 < cohen_kappa_score(table["grade_reader1"], table["grade_reader2"], weights="quadratic") < 0.85


def test_small_cohorts_keep_all_four_grades() -> None:
    assert [patients.quotas(8 * n) for n in (1, 2, 46)] == [(4, 2, 1, 1), (9, 4, 2, 1), (208, 87, 48, 25)]


def test_texture_severity_follows_the_infiltration_without_giving_it_away() -> None:
    people = patients.screened(2000, np.random.default_rng(6)).head(2000)
    table = patients.segments(people, np.random.default_rng(7))
    assert 0.58 < table["infiltration"].corr(table["severity"]) < 0.65  # 0.65 before healthy muscle is clipped at 0
    sides = table.pivot(index=["participant_id", "level"], columns="lat", values="severity")
    assert 0.55 < sides["L"].corr(sides["R"]) < 0.85


@pytest.mark.parametrize("profile", ["quick", "paper"])
def test_every_drawn_anatomy_holds_its_region_of_interest(profile: str) -> None:
    # make_plan annotates every volume; it raises where a region of interest or the lamina falls outside.
    plan = make_plan(profile, 150, seed=1)
    marks = plan.tables["derivatives/annotations/refpoints_roi"]
    for row, parameters in zip(marks.to_dict("records"), plan.parameters, strict=True):
        annotation = Annotation.from_row(row)
        assert min(annotation.roi_start) >= 0
        step = parameters.depth_mm / (128 if profile == "quick" else 256)
        assert annotation.roi_start[1] * step > parameters.subcutis_mm + 0.9


def test_acquisitions_share_a_patient() -> None:
    people = patients.screened(300, np.random.default_rng(6)).head(300)
    table = patients.segments(people, np.random.default_rng(7))
    drawn = pd.DataFrame(map(vars, patients.acquisitions(people, table, np.random.default_rng(8))))
    between = drawn.groupby(table["patient"])[["echo_db", "subcutis_mm", "spacing_mm"]].mean().var()
    within = drawn.groupby(table["patient"])[["echo_db", "subcutis_mm", "spacing_mm"]].var().mean()
    assert (between > 2 * within).all()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of two patients, made by two processes."""
    root = tmp_path_factory.mktemp("phantom") / "cohort"
    write_cohort(root, patients=2, seed=3, workers=2)
    return root


def volumes(root: Path) -> list[Path]:
    return sorted(root.glob("sub-*/us/sub-*.nii.gz"))


def test_a_cohort_folder_holds_what_its_tables_say(cohort: Path) -> None:
    marks = pd.read_csv(cohort / "derivatives/annotations/refpoints_roi.tsv", sep="\t")
    assert [path.relative_to(cohort) for path in volumes(cohort)] == sorted(
        volume_path(*row) for row in marks[KEY].itertuples(index=False, name=None)
    )
    first = volume.read(volumes(cohort)[0])
    assert first.voxels.shape == (128, 128, 48)
    assert first.sidecar["Synthetic"] is True and first.sidecar["SpinalLevel"] == "L23"
    people = pd.read_csv(cohort / "participants.tsv", sep="\t")
    assert len(people) > 2 and people["participant_id"].is_unique
    assert json.loads((cohort / "dataset_description.json").read_text(encoding="utf-8"))["Synthetic"] is True


def test_a_killed_generation_goes_on_and_ends_the_same(cohort: Path, tmp_path: Path) -> None:
    code = "import sys, pathlib, mflib.data.phantom as p; p.write_cohort(pathlib.Path(sys.argv[1]), patients=2, seed=3)"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], start_new_session=True)
    while len(volumes(tmp_path)) < 3 and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "dataset_description.json").exists()
    before = {path: path.stat().st_mtime_ns for path in volumes(tmp_path) if volume.find_sidecar(path).exists()}
    assert 2 <= len(before) < 16

    write_cohort(tmp_path, patients=2, seed=3, workers=1)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*")) == sorted(
        p.relative_to(cohort) for p in cohort.rglob("*")
    )
    for resumed, straight in zip(volumes(tmp_path), volumes(cohort), strict=True):
        difference = volume.read(resumed).voxels.astype(int) - volume.read(straight).voxels
        assert np.abs(difference).max() <= 1
    for name in ("participants.tsv", "phenotype/mri_grades.tsv", "derivatives/annotations/refpoints_roi.tsv"):
        assert (tmp_path / name).read_bytes() == (cohort / name).read_bytes()


def test_a_folder_of_something_else_is_refused(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'"seed": 3.*expected.*"seed": 4'):
        write_cohort(cohort, patients=2, seed=4)
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(InputError, match=r"found thesis\.docx, expected an empty folder"):
        write_cohort(tmp_path)
