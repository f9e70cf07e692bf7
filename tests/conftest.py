"""A small clinic's cohort, built from noise and a bright line over a dark shadow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mflib.base.words import LEVELS, SIDES
from mflib.data.volume import Volume, write

SHAPE = (30, 28, 18)
BONE, SHADOW = (4, 6, 9), (4, 20, 9)
ROI_START, ROI_SIZE = (10, 8, 2), (18, 18, 14)

REPOSITORY = Path(__file__).parents[1]
# Whatever the language of this machine is, and of whatever a test starts.
os.environ["MFLIB_LANGUAGE"] = "en"


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 128 KiB; skipped where this user cannot mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small file system here, so no disk was filled")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="session")
def real_volumes() -> Path:
    folder = REPOSITORY.parent / "shared" / "real"
    if not folder.is_dir():
        pytest.skip("the folder shared/real with real ultrasound volumes is not beside the repository")
    return folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A real browser; skipped with a word where there is none."""
    path = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no Chromium on this machine, so nothing was opened in a browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def muscle(grade: int, rng: np.random.Generator) -> np.ndarray:
    """Speckle whose grain along i grows finer and whose echo grows with the grade."""
    noise = rng.normal(size=SHAPE)
    coarse = (noise + np.roll(noise, 1, axis=0) + np.roll(noise, 2, axis=0)) / np.sqrt(3)
    mixed = coarse * (1 - grade / 3) + noise * grade / 3
    voxels = np.clip(90 + 6 * grade + 25 * mixed, 1, 255)
    voxels[2:7, 5:8, :] = 215
    voxels[2:7, 8:, :] = 18 + rng.normal(scale=3, size=(5, SHAPE[1] - 8, SHAPE[2]))
    return np.clip(voxels, 0, 255).astype(np.uint8)


@pytest.fixture
def make_cohort(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Write a cohort folder; ``segments`` chooses how many of the eight each patient has."""

    def make(patients: int = 3, *, suffix: str = ".nii.gz", segments: int = 8) -> Path:
        kept = tmp_path_factory.getbasetemp() / f"cohort-{patients}-{segments}{suffix}"
        if not kept.exists():
            write_cohort(kept, patients, suffix, segments)
        return Path(shutil.copytree(kept, tmp_path / "cohort"))

    return make


def write_cohort(root: Path, patients: int, suffix: str, segments: int) -> None:
    rng = np.random.default_rng(0)
    ids = [f"sub-{n:03d}" for n in range(1, patients + 1)]
    keys = [(p, level, lat) for p in ids for level, lat in [(v, s) for v in LEVELS for s in SIDES][:segments]]
    grades = rng.integers(0, 4, len(keys))
    for (participant, level, lat), grade in zip(keys, grades, strict=True):
        name = f"{participant}_level-{level}_lat-{lat}_bmode{suffix}"
        sidecar = {"DynamicRangeDB": 55, "SpacingSource": "test"}
        write(Volume(muscle(int(grade), rng), (0.4, 0.4, 0.5), sidecar), root / participant / "us" / name)
    write_tables(root, ids, keys, grades, rng)


def write_tables(
    root: Path, ids: list[str], keys: list[tuple[str, str, str]], grades: np.ndarray, rng: np.random.Generator
) -> None:
    """The four tables and the description of a sound cohort."""
    (root / "phenotype").mkdir()
    (root / "derivatives" / "annotations").mkdir(parents=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "Test clinic", "BIDSVersion": "1.10.0"}))
    height, weight = rng.normal(170, 6, len(ids)).round(1), rng.normal(65, 5, len(ids)).round(1)
    bmi = (weight / (height / 100) ** 2).round(2)
    people = {"participant_id": ids, "sex": (["M", "F"] * len(ids))[: len(ids)], "age": rng.integers(20, 60, len(ids))}
    pd.DataFrame(people | {"height_cm": height, "weight_kg": weight, "bmi": bmi, "site": "A"}).to_csv(
        root / "participants.tsv", sep="\t", index=False
    )
    clinical = pd.DataFrame({"participant_id": ids, "vas": rng.integers(1, 9, len(ids)), "sedentary": "yes"})
    clinical = clinical.assign(exercise_hours="n/a", pain_side="both", screening="eligible")
    clinical.to_csv(root / "phenotype" / "clinical.tsv", sep="\t", index=False)
    segments = pd.DataFrame(keys, columns=["participant_id", "level", "lat"])
    readers = {"grade_reader1": grades, "grade_reader2": grades, "grade_adjudicator": "n/a", "grade_final": grades}
    segments.assign(**readers).to_csv(root / "phenotype" / "mri_grades.tsv", sep="\t", index=False)
    places = {"bone": BONE, "shadow": SHADOW, "roi": ROI_START, "roi_n": ROI_SIZE}
    columns = {
        (name + axis if name == "roi_n" else f"{name}_{axis}"): place[n]
        for name, place in places.items()
        for n, axis in enumerate("ijk")
    }
    segments.assign(**columns, annotator="test").to_csv(
        root / "derivatives" / "annotations" / "refpoints_roi.tsv", sep="\t", index=False
    )
