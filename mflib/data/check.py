"""Every fault of a cohort folder, voxels included, and what a careful reader would want to know besides."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mflib.base.errors import Fault
from mflib.data import cohort as cohorts
from mflib.data import quality
from mflib.data.cohort_tables import ANNOTATIONS
from mflib.data.preprocess import GainSettings
from mflib.data.quality import Quality


@dataclass(frozen=True)
class Inspection:
    """The result of ``mflib check``.

    Parameters
    ----------
    folder : what was read of the folder, sound or not
    cohort : the cohort, None where its tables or headers are faulty
    faults : what keeps the folder from being used
    notices : what a reader of the study should know
    voxels : SHA-256 of the voxels of each usable volume, by its path
    quality : of all volumes
    """

    folder: cohorts.Folder
    cohort: cohorts.Cohort | None
    faults: list[Fault]
    notices: list[str]
    voxels: dict[str, str]
    quality: Quality

    def summary(self) -> dict[str, Any]:
        """The cohort in a few numbers; empty where there is none."""
        if self.cohort is None:
            return {}
        segments, flow = self.cohort.segments, self.cohort.flow
        excluded = flow[flow["stage"] == "excluded"].set_index("reason")
        return {
            "name": self.cohort.name,
            "synthetic": self.cohort.synthetic,
            "screened": len(self.cohort.participants),
            "excluded": excluded.loc[excluded["participants"] > 0, "participants"].to_dict(),
            "excluded_segments": excluded.loc[excluded["segments"].fillna(0) > 0, "segments"].to_dict(),
            "patients": int(segments["participant_id"].nunique()),
            "segments": len(segments),
            "with_infiltration": int(segments["label"].sum()),
            "grades": {str(grade): int((segments["grade"] == grade).sum()) for grade in range(4)},
        }


def inspect(root: Path, settings: GainSettings | None = None, *, progress: bool = True) -> Inspection:
    """Look at everything in a cohort folder; every volume is read once, and ``progress`` prints how far it is."""
    settings = settings or GainSettings()
    folder = cohorts.read_folder(root)
    cohort = None if folder.faults else cohorts.assemble(folder)
    measured = quality.measure(folder, settings, progress=progress)
    faults, notices = list(folder.faults), list(folder.notices)
    if cohort is not None:
        notices += _table_notices(folder, cohort)
    named = {fault.file for fault in folder.faults}
    wrong_lines = {fault.row for fault in folder.faults if fault.file == folder.file(ANNOTATIONS)}
    voxels: dict[str, str] = {}
    silent, same = [], []
    for look in measured.looks:
        # What somebody has excluded has no faults, and a file that has one already needs no second.
        if look.key in folder.unusable or look.path in named:
            continue
        if look.error:
            faults.append(Fault(look.path, None, None, look.error, "a readable volume"))
            continue
        line, _ = folder.annotations.get(look.key, (None, None))
        if line not in wrong_lines:
            notices += [f"{look.path}: {doubt}" for doubt in look.doubts]
            faults += [Fault(folder.file(ANNOTATIONS), line, *wrong) for wrong in look.wrong]
        if math.isnan(look.row["dynamic_range_db"]):
            silent.append(look.path)
        if twins := [path for path, digest in voxels.items() if digest == look.voxels_sha256]:
            found = f"the same voxels as {twins[0]}"
            same.append(Fault(look.path, None, None, found, "different voxels for each segment"))
        voxels[look.path] = look.voxels_sha256
    if silent:
        # Often all of a clinic's, so one line for them.
        where = silent[0] if len(silent) == 1 else f"{len(silent)} sidecars, the first {silent[0]}"
        notices.append(f"no DynamicRangeDB in {where}: {settings.dynamic_range_db:g} dB will be assumed")
    return Inspection(folder, cohort, faults + same, notices, voxels, measured)


def _table_notices(folder: cohorts.Folder, cohort: cohorts.Cohort) -> Iterator[str]:
    """Who is excluded, and what in tables and folder is no fault but may be a mistake."""
    for participant, reason in sorted(folder.excluded.items()):
        yield f"{participant}: excluded, {reason}"
    for key, reason in sorted(folder.unusable.items()):
        yield f"{' '.join(key)}: excluded, {reason}"
    for column, limit in (("age", "18 to 80 years"), ("bmi", "below 28 kg/m2")):
        for participant in cohort.patients.loc[cohort.patients[column].isna(), "participant_id"]:
            yield f"{participant}: no {column}, so {limit} cannot be judged; kept"
    computed = cohort.patients["weight_kg"] / (cohort.patients["height_cm"] / 100) ** 2
    for patient, bmi in zip(cohort.patients.to_dict("records"), computed, strict=True):
        if pd.notna(bmi) and pd.notna(patient["bmi"]) and abs(bmi - patient["bmi"]) > 0.5:
            yield f"{patient['participant_id']}: BMI {patient['bmi']:.1f}, but height and weight give {bmi:.1f}"
    if cohort.segments["label"].nunique() == 1:
        yield f"all {len(cohort.segments)} segments have the same label: nothing can be told apart"
    for name in cohorts.orphan_sidecars(cohort.root):
        yield f"{name}: a sidecar without its volume, so it is not read"
