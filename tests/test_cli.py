"""``mflib texture`` as a process: one file, a cohort, a kill, and what it says when it cannot."""

from __future__ import annotations

import html
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
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
from tests import processes
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
        (("--roi", "²,0,0,9,9,9"), "--roi is '²,0,0,9,9,9', expected 6 whole numbers"),
        (("--roi", "--1,0,0,9,9,9"), "expected 6 whole numbers"),
        (("--roi", f"0,0,0,9,9,{'9' * 5000}"), "expected 6 whole numbers"),
        (("--set", "texture.steps=[999]"), "no step of [999] leaves a pair of voxels"),
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


def test_a_step_that_fits_into_no_region_is_said_before_any_work(make_cohort, tmp_path: Path) -> None:
    arguments = ["texture", str(make_cohort(1)), "--run", str(tmp_path / "run"), "--set", "texture.steps=[999]"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1 and "no step of [999] leaves a pair of voxels in every region" in done.stderr
    assert not list((tmp_path / "run").rglob("*.npy"))


@pytest.mark.parametrize("content", [b"backend: nobodys", b"\xff\xfe\xe9"])
@pytest.mark.parametrize("place", ["here", "named"])
def test_no_style_of_the_users_has_a_say(make_cohort, tmp_path: Path, content: bytes, place: str) -> None:
    (tmp_path / place).mkdir()
    (tmp_path / place / "matplotlibrc").write_bytes(content)
    environment = os.environ | {"MATPLOTLIBRC": str(tmp_path / "named"), "MPLBACKEND": "nobodys"}
    line = [sys.executable, "-m", "mflib", "check", str(make_cohort(1)), "--report", str(tmp_path / "page.html")]
    where = {"cwd": tmp_path / "here" if place == "here" else tmp_path, "env": environment}
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=300, **where)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "page.html").exists()


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


# Every command that writes or reads somewhere, with the place in question.
COMMANDS = {
    "phantom": ("phantom", "{place}", "--patients", "1"),
    "import": ("import", "{cohort}", "{place}"),
    "import to a map": ("import", "{cohort}", "elsewhere", "--dry-run", "--map", "{place}/map.csv"),
    "check": ("check", "{cohort}", "--report", "{place}/page.html"),
    "texture": ("texture", "{cohort}", "--run", "{place}"),
    "texture of a volume": ("texture", "{volume}", "--out", "{place}/t.csv"),
    "report": ("report", "--cohort", "{cohort}", "--run", "{place}"),
    "predict": ("predict", "{place}", "{volume}"),
    "compare": ("compare", "{place}"),
    "audit": ("audit", "{place}", "--positives", "1", "--negatives", "1"),
    "exercises": ("exercises", "{place}"),
}
PLACES = {
    "below a file": ("file/below", "below"),
    "where nothing can be made": ("/proc/nowhere", "nowhere"),
    "too long": ("n" * 300, "nnn"),
    "not UTF-8": (os.fsdecode(b"scan\xe9 \xd6\xd0"), r"scan\? \?\?.*: found a name that is not UTF-8; rename"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_bad_place_is_named_in_a_line_or_two(
    make_cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    where, said = PLACES[place]
    (tmp_path / "file").write_text("x")
    cohort = make_cohort(1, segments=1)
    if command == "import":
        intake_map = "file,participant_id,level,lat\nsub-001/us/sub-001_level-L23_lat-L_bmode.nii.gz,sub-001,L23,L\n"
        (tmp_path / "import_map_cohort.csv").write_text(intake_map)
    given = {"place": where, "cohort": str(cohort), "volume": str(next(cohort.rglob("*.nii.gz")))}
    done = CliRunner().invoke(app, [part.format(**given) for part in COMMANDS[command]])
    assert isinstance(done.exception, SystemExit) and done.exit_code == 1, done.output
    assert re.search(said, done.stderr) and "Traceback" not in done.output
    assert len(done.stderr.splitlines()) <= 2, done.stderr


def test_where_an_error_arose_is_shown_on_request(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    below = str(tmp_path / "file" / "below")
    for arguments in (["--debug", "exercises", below], ["exercises", below, "--debug"]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 1
        assert "Traceback" in done.stderr and "a file lies where a folder was expected" in done.stderr.splitlines()[-1]


def test_an_ascii_terminal_shows_what_it_can(make_cohort, tmp_path: Path) -> None:
    cohort = make_cohort(1).rename(tmp_path / "数据")
    ascii_only = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    for arguments in (["check", str(cohort)], ["exercises", str(tmp_path / "练习")]):
        done = subprocess.run(
            [sys.executable, "-m", "mflib", *arguments], env=ascii_only, capture_output=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "mflib", "check", str(tmp_path / "没有")], env=ascii_only, capture_output=True
    )
    assert done.returncode == 1 and b"no such folder" in done.stdout and b"Traceback" not in done.stderr


def test_an_interrupt_says_that_the_same_command_goes_on(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "mflib", "phantom", str(tmp_path / "p"), "--patients", "3"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(arguments, start_new_session=True, preexec_fn=processes.heard, **pipes) as process:
        while not (tmp_path / "p" / "participants.tsv").exists():
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "interrupted: what is finished stays, and the same command goes on"
    assert "Traceback" not in said


def test_a_library_warns_without_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warnings.formatwarning", warnings.formatwarning)
    CliRunner().invoke(app, ["check", "nowhere"])
    assert warnings.formatwarning("odd", UserWarning, "lib.py", 3, "code()") == "warning: odd\n"


ENGLISH = re.compile(r"(?<![\w./@<'\-])[a-z]{3,}(?![\w/@'.]|-\d)")


def in_chinese(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command on a machine whose language is Chinese."""
    bare = {name: value for name, value in os.environ.items() if name != "MFLIB_LANGUAGE"}
    wide = {"LANG": "zh_CN.UTF-8", "PYTHONIOENCODING": "utf-8", "COLUMNS": "120"}
    run = [sys.executable, "-m", "mflib", *map(str, arguments)]
    return subprocess.run(run, capture_output=True, text=True, timeout=120, env=bare | wide | environment)


def test_faults_are_said_in_the_language_of_the_machine(make_cohort: Callable[..., Path]) -> None:
    root = make_cohort(2)
    people = pd.read_csv(root / "participants.tsv", sep="\t", dtype=str)
    people.loc[0, ["age", "sex"]] = ["about thirty", "unknown"]
    people.to_csv(root / "participants.tsv", sep="\t", index=False)
    grades = pd.read_csv(root / "phenotype" / "mri_grades.tsv", sep="\t", dtype=str)
    grades.loc[3, "grade_final"] = "7"
    grades.iloc[1:].to_csv(root / "phenotype" / "mri_grades.tsv", sep="\t", index=False)
    next((root / "sub-002" / "us").glob("*L45*L_bmode.nii.gz")).unlink()
    done = in_chinese("check", root, "--report", root / "check.html")
    assert done.returncode == 1 and done.stderr == ""
    english = subprocess.run(
        [sys.executable, "-m", "mflib", "check", root], capture_output=True, text=True, timeout=120
    )
    lines = [line for line in done.stdout.splitlines() if "volumes looked at" not in line]
    assert len(done.stdout.splitlines()) == len(english.stdout.splitlines())
    # What somebody wrote, and where, stays to the letter.
    for word in ("'about thirty'", "'unknown'", "participants.tsv", "mri_grades.tsv", "age", "sex"):
        assert done.stdout.count(word) == english.stdout.count(word), word
    names = {"unknown", "age", "sex", "tsv", "nii", "json", "bmode", "test", "clinic", "sub", "cohort", "scans"}
    assert [line for line in lines if set(ENGLISH.findall(line)) - names] == []
    assert re.sub(r"\D+", " ", done.stdout).split()[-1] == re.sub(r"\D+", " ", english.stdout).split()[-1]
    page = (root / "check.html").read_text(encoding="utf-8")
    assert '<html lang="zh-Hans">' in page and "'about thirty'" in html.unescape(page)


def test_a_command_is_said_and_refused_in_the_language_that_is_asked_for(tmp_path: Path) -> None:
    asked = [command.name for command in app.registered_commands if command.name] + ["check", "report", "lab"]
    for name in {*asked, ""}:
        told = in_chinese(*filter(None, [name, "--help"])).stdout
        assert re.search("[\u4e00-\u9fff]", told) and "Options" not in told and "Usage" not in told
        assert "Usage" in in_chinese(*filter(None, [name, "--help"]), MFLIB_LANGUAGE="en").stdout
    refused = in_chinese("check", tmp_path / "none")
    assert refused.returncode == 1 and re.search("[\u4e00-\u9fff]", refused.stdout + refused.stderr)
    unknown = in_chinese("check", tmp_path, "--language", "fr")
    assert unknown.returncode == 1 and "'fr'" in unknown.stderr and "en, zh" in unknown.stderr.replace("\uff0c", ", ")
    assert "No such option" in in_chinese("check", "--what", MFLIB_LANGUAGE="en").stderr
    assert "No such option" not in in_chinese("check", "--what").stderr
