"""The synthetic cohort's folder, written volume by volume and continued where it stopped; and the truth behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mflib.base import files
from mflib.base.errors import InputError
from mflib.base.language import tell
from mflib.base.parallel import in_order
from mflib.base.words import KEY, LEVEL_NAMES, percent
from mflib.data import volume
from mflib.data.cohort import DESCRIPTION, read_description, volume_path
from mflib.data.cohort_tables import ANNOTATIONS, CLINICAL, GRADES, PARTICIPANTS, SCHEMAS, VOXELS
from mflib.data.phantom import anatomy, patients
from mflib.data.phantom.anatomy import Parameters, Surfaces, find_profile
from mflib.data.phantom.scanner import Array, Grid
from mflib.data.phantom.simulation import VERSION, simulate
from mflib.stats import roc

MARKER = ".mflib-phantom.json"
NAME = "Synthetic lumbar multifidus ultrasound"
TRUTH = "derivatives/phantom/truth.tsv"
README = f"""{NAME}

SYNTHETIC: simulated by mflib, no patient is in it. Volumes, annotations, grades and clinical data are drawn from a
seed (dataset_description.json holds it). {TRUTH} holds what was simulated: the share of fat in each
muscle, and what else shapes its picture. It is the truth behind the cohort and no input of a study.
"""
# Columns of the truth behind KEY; data/README.md says what they are.
SIMULATED = [
    "fat", "grade", "fibrosis", "subcutis_mm", "thickness_mm", "cleft_mm", "tilt_deg", "contact_db", "attenuation",
    "multifidus",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything about a cohort but its voxels.

    Parameters
    ----------
    tables : path to table, those of a cohort and the truth
    segments : KEY and ``seed`` of each volume
    parameters : of each volume, in the same order
    profile : size of the volumes
    """

    tables: Mapping[str, pd.DataFrame]
    segments: pd.DataFrame
    parameters: list[Parameters]
    profile: str


def write_cohort(
    out: Path, *, profile: str = "quick", patients: int = 46, seed: int = 20, workers: int | None = None
) -> None:
    """Simulate a cohort into a folder; on a half-written folder, go on where it stopped.

    ``dataset_description.json`` is written last: where it is, the cohort is complete. Tables that exist are kept.

    Parameters
    ----------
    out : the cohort's folder, made where it is missing
    profile : "quick" (128 x 128 x 48 voxels) or "paper" (256 x 256 x 96)
    patients : analysed patients, 8 volumes each; excluded ones are added in proportion
    seed : of everything drawn
    workers : processes, all cores by default; the volumes do not depend on it

    Raises
    ------
    InputError
        Unknown profile, patients or a seed that cannot be, or ``out`` holds another cohort or something else.
    """
    find_profile(profile)
    for name, value, least, most in (("patients", patients, 1, 10_000), ("seed", seed, 0, 2**32 - 1)):
        if not least <= value <= most:
            raise InputError(f"{name} is {value}, expected {least} to {most}")
    wanted = {"profile": profile, "patients": patients, "seed": seed}
    generated = {"Name": "mflib phantom", "Version": VERSION, "Parameters": wanted}
    _claim(out, generated)
    plan = make_plan(profile, patients, seed)
    _write_tables(out, plan)
    tell(f"tables of {patients} patients written, {len(plan.segments)} volumes follow")
    _write_volumes(out, plan, workers)
    description = {"Name": NAME, "BIDSVersion": "1.10.0", "DatasetType": "raw", "Synthetic": True}
    files.write_new(out / DESCRIPTION, _json({**description, "GeneratedBy": [generated]}))
    (out / MARKER).unlink(missing_ok=True)


# A plan of 46 patients takes a tenth of a second, and all volumes of a cohort ask for the same.
@lru_cache(maxsize=4)
def make_plan(profile: str, analysed: int, seed: int) -> Plan:
    """Draw patients, grades, readers and acquisition parameters of a cohort."""
    people_rng, grade_rng, reader_rng, scan_rng = map(np.random.default_rng, np.random.SeedSequence(seed).spawn(4))
    people = patients.screened(analysed, people_rng)
    included = people.head(analysed)
    segments = patients.segments(included, grade_rng)
    parameters = patients.acquisitions(included, segments, scan_rng)
    positions = zip(segments["patient"], segments["segment"], strict=True)
    segments["seed"] = [volume_seed(seed, patient, segment) for patient, segment in positions]
    marked = [_marked(one, int(seed), profile) for one, seed in zip(parameters, segments["seed"], strict=True)]
    points = pd.DataFrame([row for row, _ in marked], columns=list(VOXELS))
    grades, shares = patients.grade(segments["fat"].to_numpy()), [share for _, share in marked]
    truth = pd.DataFrame(map(vars, parameters)).assign(grade=grades, multifidus=shares)
    tables = {
        PARTICIPANTS: people[[*SCHEMAS[PARTICIPANTS], "site"]],
        CLINICAL: people[list(SCHEMAS[CLINICAL])],
        GRADES: patients.read(segments, reader_rng),
        ANNOTATIONS: segments[KEY].join(points).assign(annotator="mflib phantom"),
        TRUTH: segments[KEY].join(truth[SIMULATED].round(4)),
    }
    return Plan(tables, segments, parameters, profile)


def volume_seed(seed: int, patient: int, segment: int) -> int:
    """Seed of one volume, whatever the number of volumes and the order in which they are made."""
    child = np.random.SeedSequence(seed, spawn_key=(4, patient, segment))
    return int(child.generate_state(1, np.uint64)[0] >> np.uint64(11))  # 53 bits, exact in any JSON reader


def _marked(parameters: Parameters, seed: int, profile: str) -> tuple[list[int], float]:
    """The operator's marks of a volume, as a row of the table, and the share of its region that is multifidus."""
    size = find_profile(profile)
    grid = size.grid(parameters)
    drawn = _surfaces(parameters, grid, seed)
    marks = anatomy.annotate(parameters, drawn, grid, size.box)
    right = marks if parameters.side == "R" else anatomy.mirrored(marks, grid.shape[0])
    # Every other voxel will do.
    i, j, k = (np.arange(first, first + n, 2) for first, n in zip(right.roi_start, right.roi_size, strict=True))
    inside = anatomy.parts(drawn, grid, _middle(grid)[j], i, k)["multifidus"]
    return [*marks.bone, *marks.shadow, *marks.roi_start, *marks.roi_size], float(inside.mean())


def _surfaces(parameters: Parameters, grid: Grid, seed: int) -> Surfaces:
    """The interfaces of a volume; Tissue draws them first, so the same seed gives the same ones without the rest."""
    return Surfaces(parameters, grid, np.random.Generator(np.random.SFC64(seed)))


def _middle(grid: Grid) -> Array:
    """Depth in mm of the middle of each voxel."""
    return (np.arange(grid.shape[1], dtype=np.float32) + 0.5) * np.float32(grid.voxel_mm)


def _claim(out: Path, generated: Mapping[str, Any]) -> None:
    """Make the folder this cohort's, or refuse it."""
    out.mkdir(parents=True, exist_ok=True)
    label = next((out / name for name in (DESCRIPTION, MARKER) if (out / name).exists()), None)
    if label is None:
        others = sorted(path.name for path in out.iterdir() if not path.name.startswith("partial-"))
        if others:
            raise InputError(f"{out}: found {', '.join(others[:5])}, expected an empty folder or a phantom cohort")
        files.write_new(out / MARKER, _json({"GeneratedBy": [generated]}))
        return
    found = _generated_by(label)
    if found != [generated]:
        expected = f"expected {json.dumps([generated])}; give another folder, or remove this one"
        raise InputError(f"{label}: found a cohort made by {json.dumps(found)}, {expected}")


def _generated_by(label: Path) -> object:
    """What a cohort's description says it was made by."""
    try:
        return json.loads(label.read_text(encoding="utf-8"))["GeneratedBy"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{label}: found no GeneratedBy, expected the description of a phantom cohort") from error


def _write_tables(out: Path, plan: Plan) -> None:
    """Write the tables and the texts."""
    for name, table in plan.tables.items():
        files.write_new(out / name, table.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n"))
    files.write_new(out / "README", README)
    files.write_new(out / ".bidsignore", "**/us/\n")


def _write_volumes(out: Path, plan: Plan, workers: int | None) -> None:
    """Simulate the volumes that are not there yet."""
    missing = []
    for row, parameters in zip(plan.segments.to_dict("records"), plan.parameters, strict=True):
        path = out / volume_path(*(str(row[key]) for key in KEY))
        # The sidecar is written after the voxels.
        if not (path.exists() and volume.find_sidecar(path).exists()):
            missing.append((path, str(row["level"]), int(row["seed"]), parameters))
    in_order(_write_volume, plan.profile, missing, "phantom volumes", workers=workers or joblib.cpu_count())
    for leftover in out.glob("sub-*/us/partial-*"):
        leftover.unlink()


def _write_volume(profile: str, planned: tuple[Path, str, int, Parameters]) -> None:
    """Simulate and write one volume."""
    path, level, seed, parameters = planned
    simulated, _ = simulate(parameters, seed, profile)
    volume.write(replace(simulated, sidecar={**simulated.sidecar, "SpinalLevel": level}), path)


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


def truth(root: Path) -> pd.DataFrame | None:
    """KEY and what was simulated of each segment (``SIMULATED``); None if the cohort is no phantom."""
    path = root / TRUTH
    return pd.read_csv(path, sep="\t") if path.exists() else None


GIVES = "The phantom was given from the paper:\n\n{list}"
PURITY = (
    "The simulator knows what is where: of the regions of interest that it wrote, on average {mean} is multifidus "
    "({levels}), in the worst of them {least}."
)
CEILING = (
    "The simulator also knows the truth: the share of fat in the muscle has an AUC of **{auc:.2f}** against the final "
    "grades. No model can be expected to reach more, since the readers err."
)


def given(root: Path) -> str:
    """What a phantom cohort was given from the paper, as a list; nothing of any other cohort, as below."""
    return "" if truth(root) is None else GIVES.format(list="\n".join(f"- {sentence}" for sentence in patients.GIVEN))


def purity(root: Path) -> str:
    """How much of the regions that the phantom came with is multifidus, in a sentence."""
    known = truth(root)
    if known is None:
        return ""
    shares = known.groupby("level")["multifidus"].mean()
    levels = ", ".join(f"{LEVEL_NAMES[str(level)]} {percent(share)}" for level, share in shares.items())
    whole, worst = known["multifidus"].mean(), known["multifidus"].min()
    return PURITY.format(mean=percent(whole), levels=levels, least=percent(worst))


def ceiling(root: Path, segments: pd.DataFrame) -> str:
    """How well the true share of fat tells the final labels apart, in a sentence; ``segments``: KEY and ``label``."""
    known = truth(root)
    if known is None:
        return ""
    both = segments[[*KEY, "label"]].merge(known, on=KEY, validate="one_to_one")
    areas, _ = roc.auc_covariance(both["label"], both["fat"])
    return CEILING.format(auc=areas[0])


def tissues(root: Path, segment: Mapping[str, Any]) -> dict[str, NDArray[np.bool_]] | None:
    """Which part of the body is where in one volume of a phantom cohort, made again from the recorded seed.

    Parameters
    ----------
    root : the cohort's folder
    segment : holds KEY; a row of the segments table

    Returns
    -------
    dict of (ni, nj, nk) bool, or None
        By the names in ``anatomy.PARTS``; each voxel of the whole volume is in one of them. None where the folder is no
        phantom made by this version of mflib.

    Raises
    ------
    InputError
        The phantom has no such segment.
    """
    match read_description(root)[0].get("GeneratedBy"):
        case [{"Name": "mflib phantom", "Version": version, "Parameters": wanted}] if version == VERSION:
            plan = make_plan(wanted["profile"], wanted["patients"], wanted["seed"])
        case _:
            return None
    key = tuple(str(segment[column]) for column in KEY)
    keys = list(plan.segments[KEY].itertuples(index=False, name=None))
    if key not in keys:
        raise InputError(f"segment is {' '.join(key)}, expected one of the {len(keys)} that were simulated")
    parameters, seed = plan.parameters[keys.index(key)], int(plan.segments["seed"][keys.index(key)])
    grid = find_profile(plan.profile).grid(parameters)
    i, k = (np.arange(grid.shape[axis]) for axis in (0, 2))
    masks = anatomy.parts(_surfaces(parameters, grid, seed), grid, _middle(grid), i, k)
    turned = {name: mask.transpose(1, 0, 2) for name, mask in masks.items()}
    return {name: mask[::-1] for name, mask in turned.items()} if parameters.side == "L" else turned
