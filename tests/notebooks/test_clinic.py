"""A clinic's folder of real volumes, with gaps, becomes a report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mflib.volume import LEVELS, Volume, read, write
from tests.notebooks.runs import mflib, write_profile

pytestmark = pytest.mark.notebooks


def real_cohort(root: Path, source: Path, patients: int = 8) -> Path:
    """A clinic's folder from crops of a real scan: MHA and NIfTI, uneven patients, ROIs of two sizes, gaps."""
    scan = read(source / "SpinePhantomFreehandReconstructed.mha")
    rng = np.random.default_rng(0)
    grades, points = [], []
    for n in range(1, patients + 1):
        places = [(level, lat) for level in LEVELS for lat in "LR"][: 6 if n == 1 else 8]
        for m, (level, lat) in enumerate(places):
            i, j, k = (int(rng.integers(0, limit)) for limit in (60, 20, 50))
            crop = scan.voxels[i : i + 80, j : j + 80, k : k + 50].copy()
            bone = np.unravel_index(int(crop.argmax()), crop.shape)
            crop[70:, 60:, :] = 0
            grade = 0 if n == 2 else int(rng.integers(0, 4))
            suffix = (".mha", ".nii.gz")[m % 2]
            name = f"sub-{n:03d}_level-{level}_lat-{lat}_bmode{suffix}"
            write(Volume(crop, scan.spacing_mm, {}), root / f"sub-{n:03d}" / "us" / name)
            key = {"participant_id": f"sub-{n:03d}", "level": level, "lat": lat}
            grades.append(key | dict(zip(("grade_reader1", "grade_reader2", "grade_final"), [grade] * 3, strict=True)))
            box = {"roi_i": 5, "roi_j": 10, "roi_k": 4, "roi_ni": 40 + 4 * (m % 2), "roi_nj": 40, "roi_nk": 12}
            point = {f"bone_{a}": int(b) for a, b in zip("ijk", bone, strict=True)}
            points.append(key | point | {"shadow_i": 75, "shadow_j": 70, "shadow_k": 25} | box | {"annotator": "x"})
    tables = root / "phenotype", root / "derivatives" / "annotations"
    for folder in tables:
        folder.mkdir(parents=True)
    ids = [f"sub-{n:03d}" for n in range(1, patients + 1)]
    people = pd.DataFrame(
        {"participant_id": ids, "sex": "F", "age": 40, "height_cm": 165, "weight_kg": 60, "bmi": 22.04}
    )
    people.astype(str).assign(bmi=["n/a", *["22.04"] * (patients - 1)]).to_csv(root / PEOPLE, sep="\t", index=False)
    pd.DataFrame({"participant_id": ids, "vas": ["n/a", *range(1, patients)]}).to_csv(
        root / CLINICAL, sep="\t", index=False
    )
    pd.DataFrame(grades).assign(grade_adjudicator="n/a").to_csv(root / GRADES, sep="\t", index=False)
    pd.DataFrame(points).to_csv(root / POINTS, sep="\t", index=False)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "A <real> clinic", "BIDSVersion": "1.10.0"}))
    return root


PEOPLE, CLINICAL, GRADES = "participants.tsv", "phenotype/clinical.tsv", "phenotype/mri_grades.tsv"
POINTS = "derivatives/annotations/refpoints_roi.tsv"


def test_a_clinics_folder_of_real_volumes(real_volumes: Path, tmp_path: Path) -> None:
    root = real_cohort(tmp_path / "clinic", real_volumes)
    checked = mflib("check", root, "--json")
    assert checked.returncode == 0, checked.stdout
    assert json.loads(checked.stdout)["summary"]["segments"] == 62
    texture = {"levels": [16], "steps": [1, 12], "nakagami_input": "intensity"}
    profile = write_profile(tmp_path, {"texture_settings": texture, "network_comparisons": []})
    done = mflib("report", "--cohort", root, "--profile", profile, "--run", tmp_path / "run")
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "run" / "report.html").read_text()
    assert "A &lt;real&gt; clinic" in page
    assert 'class="banner"' not in page
    assert "Which tissue is where is not known here." in page
    assert "55 dB will be assumed" in page
    # 13 directions at step 1; at step 12 only the 4 without elevation, where 12 voxels hold no pair 12 apart.
    assert "17 of 1170" in page
