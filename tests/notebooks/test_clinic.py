"""A clinic's scanner files, with names and gaps, become a report."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mflib.base.words import KEY
from mflib.data.volume import Volume, read, write
from tests.data.dicoms import MARKER, region_multiframe
from tests.notebooks.runs import called, mflib, write_profile

pytestmark = [pytest.mark.notebooks, pytest.mark.slow]


NAME = "MUELLER"


def scanner_files(source: Path, real: Path, patients: int = 8) -> None:
    """Crops of a real scan as a clinic has them: DICOM and MHA, uneven patients, names in folders and pictures."""
    scan = read(real / "SpinePhantomFreehandReconstructed.mha")
    rng = np.random.default_rng(0)
    for n in range(1, patients + 1):
        folder = source / f"{NAME}_{n}"
        folder.mkdir(parents=True)
        for m, (level, side) in enumerate(product(("L2-3", "L3-4", "L4-5", "L5-S1"), ("left", "right"))):
            i, j, k = (int(rng.integers(0, limit)) for limit in (60, 20, 50))
            crop = scan.voxels[i : i + 80, j : j + 80, k : k + 50].copy()
            crop[70:, 60:, :] = 0
            if n == 1 and m >= 6:
                continue
            if m % 2:
                write(Volume(crop, scan.spacing_mm, {}), folder / f"{level}_{side}.mha")
            else:
                region_multiframe(folder / f"{level}_{side}.dcm", crop, scan.spacing_mm, text=NAME, marker=True)


def fill_in(root: Path) -> None:
    """What a person adds: people with gaps, grades, and points on the brightest voxel and in the black corner."""
    table = pd.read_csv(root / GRADES, sep="\t", dtype=str)
    rng, points = np.random.default_rng(0), []
    for n, (participant, level, lat) in enumerate(table[KEY].itertuples(index=False)):
        voxels = read(root / participant / "us" / f"{participant}_level-{level}_lat-{lat}_bmode.nii.gz").voxels
        box = {"roi_i": 5, "roi_j": 10, "roi_k": 4, "roi_ni": 40 + 4 * (n % 2), "roi_nj": 40, "roi_nk": 12}
        bone = {
            f"bone_{a}": int(b) for a, b in zip("ijk", np.unravel_index(voxels.argmax(), voxels.shape), strict=True)
        }
        key = dict(zip(KEY, (participant, level, lat), strict=True))
        points.append(key | bone | {"shadow_i": 75, "shadow_j": 70, "shadow_k": 25} | box | {"annotator": "x"})
    pd.DataFrame(points).to_csv(root / POINTS, sep="\t", index=False)
    grades = rng.integers(-3, 4, len(table)).clip(0) * (table["participant_id"] != "sub-002")
    readers = ["grade_reader1", "grade_reader2", "grade_final"]
    table.assign(**dict.fromkeys(readers, grades)).fillna("n/a").to_csv(root / GRADES, sep="\t", index=False)
    people = pd.read_csv(root / PEOPLE, sep="\t", dtype=str)
    people = people.assign(sex="F", age=40, height_cm=["n/a", *["165"] * 7], weight_kg=60)
    people.fillna("n/a").to_csv(root / PEOPLE, sep="\t", index=False)
    clinical = pd.read_csv(root / CLINICAL, sep="\t", dtype=str).assign(vas=["n/a", *range(1, 8)])
    clinical.fillna("n/a").to_csv(root / CLINICAL, sep="\t", index=False)


PEOPLE, CLINICAL, GRADES = "participants.tsv", "phenotype/clinical.tsv", "phenotype/mri_grades.tsv"
POINTS = "derivatives/annotations/refpoints_roi.tsv"


def test_from_scanner_files_to_the_report(real_volumes: Path, tmp_path: Path) -> None:
    scans, root = tmp_path / "scans", tmp_path / "A <real> clinic"
    scanner_files(scans, real_volumes)
    said = [called("import", scans, root, "--dry-run"), called("import", scans, root)]
    assert "62 imported" in said[-1]
    fill_in(root)
    said.append(called("check", root, "--json", "--report", tmp_path / "run" / "check.html"))
    assert json.loads(said[-1])["summary"]["segments"] == 62
    texture = {"levels": [16], "steps": [1, 12], "nakagami_input": "intensity"}
    profile = write_profile(tmp_path, {"texture": texture, "comparisons": []})
    done = mflib("report", "--cohort", root, "--profile", profile, "--run", tmp_path / "run")
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "run" / "report.html").read_text()
    assert "A &lt;real&gt; clinic" in page
    assert "bmi computed from height and weight" in page
    # Folders were named after patients, and the name stood in every element and picture.
    written = [path.read_bytes() for folder in (root, tmp_path / "run") for path in folder.rglob("*") if path.is_file()]
    assert not any(marker.encode() in content for content in written for marker in (NAME, MARKER))
    assert NAME not in "".join(said) + done.stdout + done.stderr
    assert 'class="banner"' not in page
    assert "Which tissue is where is not known here." in page
    assert "55 dB will be assumed" in page
    # 13 directions at step 1; at step 12 only the 4 without elevation, where 12 voxels hold no pair 12 apart.
    assert "17 of 1170" in page
