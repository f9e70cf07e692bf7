"""``mflib texture`` as a process: one file, a cohort, a kill, and what it says when it cannot."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from mflib import cli
from mflib.cli import app
from mflib.data import cohort as cohorts
from mflib.data import preprocess
from mflib.data.volume import Volume, read, write
from mflib.models.texture import bank, glcm, intensity
from mflib.study.pipeline import STEPS
from tests.conftest import BONE, ROI_SIZE, ROI_START, SHADOW


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "mflib", "texture", *map(str, arguments)]


def texture(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300)


def joined(*numbers: tuple[int, ...]) -> str:
    return ",".join(str(n) for part in numbers for n in part)


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    path = tmp_path / "scan.nii.gz"
    write(Volume(rng.integers(20, 200, (24, 20, 16), dtype=np.uint8), (0.3, 0.3, 0.4), {"DynamicRangeDB": 60}), path)
    return path


def test_one_volume_as_recorded(scan: Path, tmp_path: Path) -> None:
    done = texture(scan, "--out", tmp_path / "new" / "t.parquet")
    assert done.returncode == 0, done.stderr
    (row,) = pd.read_parquet(tmp_path / "new" / "t.parquet").to_dict("records")
    voxels = read(scan).voxels
    expected = glcm.features(voxels)
    assert [name for name in row if name.startswith("glcm_")] == list(expected.index)
    np.testing.assert_array_equal([row[name] for name in expected.index], expected)
    assert row["nakagami_m"] == intensity.fit(voxels, 60).m
    assert (row["volume"], row["grey_levels"]) == ("scan.nii.gz", np.unique(voxels).size)


def test_one_volume_of_a_cohort_with_its_annotation(make_cohort, tmp_path: Path) -> None:
    cohort = cohorts.load(make_cohort(1, segments=1))
    whole = bank.extract(cohort, preprocess.GainSettings(), bank.TextureSettings(), tmp_path / "cache", workers=1)
    path = cohort.root / cohort.segments["path"].iloc[0]
    points = ("--roi", joined(ROI_START, ROI_SIZE), "--bone", joined(BONE), "--shadow", joined(SHADOW))
    done = texture(path, *points, "--out", tmp_path / "t.csv")
    assert done.returncode == 0, done.stderr
    found = pd.read_csv(tmp_path / "t.csv").drop(columns="volume")
    pd.testing.assert_frame_equal(found, whole[found.columns], check_exact=True)
    shown = dict(line.split("\t") for line in texture(path, *points).stdout.splitlines())
    assert float(shown["nakagami_m"]) == found["nakagami_m"].iloc[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--roi", "0,0,0,9,9"), "--roi is '0,0,0,9,9', expected 6 whole numbers"),
        (("--roi", "20,0,0,9,9,9"), "ROI spans (20, 0, 0) to (29, 9, 9), expected inside a volume of (24, 20, 16)"),
        (("--roi", "0,0,0,0,9,9"), "ROI spans (0, 0, 0) to (0, 9, 9)"),
        (("--bone", "1,1,1"), "one reference point"),
        (
            ("--bone", "1,1,1", "--shadow", "24,1,1"),
            "shadow is at (24, 1, 1), expected inside a volume of (24, 20, 16)",
        ),
        (("--out", "table.xlsx"), "expected a name that ends in .csv or .parquet"),
        (("--profile", "huge"), "no profile 'huge'"),
        (("--scheduler", "tcp://127.0.0.1:1"), "found --scheduler, which is for a cohort"),
        (("--out", "/proc/t.csv"), "/proc"),
    ],
)
def test_refusals_are_one_line(scan: Path, arguments: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(app, ["texture", str(scan), *arguments])
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert said in done.stderr


def test_settings_are_set_by_name(scan: Path, tmp_path: Path) -> None:
    given = ["--set", "texture.levels=[16]", "--set", "texture.steps=[2]"]
    done = CliRunner().invoke(app, ["texture", str(scan), "--out", str(tmp_path / "t.csv"), *given])
    assert done.exit_code == 0, done.output
    columns = pd.read_csv(tmp_path / "t.csv").columns
    assert {name.rpartition("_")[0][:9] for name in columns if name.startswith("glcm_")} == {"glcm_16_2"}
    for text, said in (("texture.level=[16]", "the nearest is texture.levels"), ("levels", "expected NAME=VALUE")):
        wrong = CliRunner().invoke(app, ["texture", str(scan), "--set", text])
        assert wrong.exit_code == 1 and said in wrong.stderr


def test_marks_are_not_for_a_cohort(make_cohort) -> None:
    done = CliRunner().invoke(app, ["texture", str(make_cohort(1)), "--roi", "0,0,0,9,9,9", "--bone", "1,1,1"])
    assert done.exit_code == 1
    assert "found --roi, --bone, which is for one volume" in done.stderr


def test_a_file_that_is_no_volume(tmp_path: Path) -> None:
    (tmp_path / "a.nrrd").write_text("not a volume")
    done = texture(tmp_path / "a.nrrd")
    assert done.returncode == 1
    assert "a.nrrd" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_killed_run_goes_on(make_cohort, tmp_path: Path) -> None:
    cohort, run = make_cohort(20), tmp_path / "run"
    arguments = (cohort, "--run", run)
    cache = run / "artifacts" / "cache"
    with subprocess.Popen(command(*arguments), start_new_session=True, stdout=subprocess.DEVNULL) as process:
        while len(list(cache.glob("[!p]*.npy"))) < 5:
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    before = {path: path.stat().st_mtime_ns for path in cache.glob("[!p]*.npy")}
    assert 5 <= len(before) < 160
    done = texture(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(run / "artifacts" / "texture.parquet")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(pd.read_parquet(run / "artifacts" / "texture.parquet")) == len(list(cache.glob("[!p]*.npy"))) == 160


def test_the_help_names_every_notebook() -> None:
    assert re.findall(r"\d\d \w+", cli.STEP) == [step.replace("_", " ", 1) for step in STEPS]
