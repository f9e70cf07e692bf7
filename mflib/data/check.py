"""Every fault of a cohort folder, voxels included, and what a careful reader would want to know besides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import pandas as pd

from mflib.base.errors import FileError
from mflib.base.progress import Progress
from mflib.data import cohort as cohorts
from mflib.data import cohort_files, preprocess
from mflib.data import volume as volumes
from mflib.data.cohort import Cohort, Folder, exclusions, segment_exclusions
from mflib.data.cohort_tables import ANNOTATIONS, CLINICAL, PARTICIPANTS, Fault
from mflib.data.preprocess import GainSettings, References
from mflib.data.volume import Annotation, Volume


@dataclass(frozen=True)
class VolumeFinding:
    """What one volume shows: faults, notices, a hash of the voxels, and whether its dynamic range is known."""

    path: str
    faults: tuple[Fault, ...] = ()
    notices: tuple[str, ...] = ()
    voxels_sha256: str | None = None
    states_range: bool = False


@dataclass(frozen=True)
class Inspection:
    """The result of ``mflib check``.

    Parameters
    ----------
    folder : what was read of the folder, sound or not
    cohort : the cohort, None where its tables or headers are faulty
    faults : what keeps the folder from being used
    notices : what a reader of the study should know
    voxels : SHA-256 of the voxels of each readable volume, by its path
    """

    folder: Folder
    cohort: Cohort | None
    faults: list[Fault]
    notices: list[str] = field(default_factory=list)
    voxels: dict[str, str] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """The cohort in a few numbers; empty where there is none."""
        if self.cohort is None:
            return {}
        segments, flow = self.cohort.segments, self.cohort.flow
        excluded = flow[flow["stage"] == "excluded"]
        patients, out = excluded[excluded["participants"] > 0], excluded[excluded["segments"] > 0]
        return {
            "name": self.cohort.name,
            "synthetic": self.cohort.synthetic,
            "screened": len(self.cohort.participants),
            "excluded": {
                reason: int(n) for reason, n in zip(patients["reason"], patients["participants"], strict=True)
            },
            "excluded_segments": {reason: int(n) for reason, n in zip(out["reason"], out["segments"], strict=True)},
            "patients": int(segments["participant_id"].nunique()),
            "segments": len(segments),
            "with_infiltration": int(segments["label"].sum()),
            "grades": {str(grade): int((segments["grade"] == grade).sum()) for grade in range(4)},
        }


def inspect(root: Path, settings: GainSettings | None = None, *, progress: bool = True) -> Inspection:
    """Look at everything in a cohort folder, one volume in memory at a time; ``progress`` prints how far it is."""
    settings = settings or GainSettings()
    folder = cohorts.read_folder(root)
    findings = list(_look(folder, settings, progress))
    faults = folder.faults + [fault for finding in findings for fault in finding.faults] + _same_voxels(findings)
    cohort = cohorts.assemble(folder) if not folder.faults else None
    notices = list(folder.notices) if cohort is None else [*folder.notices, *_table_notices(cohort)]
    notices += [f"{finding.path}: {notice}" for finding in findings for notice in finding.notices]
    notices += _range_notice(findings, settings)
    voxels = {finding.path: finding.voxels_sha256 for finding in findings if finding.voxels_sha256}
    return Inspection(folder, cohort, faults, notices, voxels)


def _look(folder: Folder, settings: GainSettings, progress: bool) -> Iterator[VolumeFinding]:
    """The findings of every volume whose header and annotation are sound, and that nobody has excluded."""
    unusable = {fault.file for fault in folder.faults}
    excluded = segment_exclusions(folder.tables[ANNOTATIONS]) if folder.tables else {}
    annotations = cohort_files.complete_annotations(folder.tables[ANNOTATIONS]) if folder.tables else {}
    wrong_lines = {fault.row for fault in folder.faults if fault.file == ANNOTATIONS}
    usable = {key: path for key, path in folder.volumes.items() if path not in unusable and key not in excluded}

    def find(key: cohort_files.Key) -> VolumeFinding:
        line, annotation = annotations.get(key, (None, None))
        return _finding(folder.root, usable[key], None if line in wrong_lines else annotation, line, settings)

    counter = Progress("volumes checked", len(usable))
    # Threads are enough: reading and decompressing happen outside the interpreter.
    with ThreadPoolExecutor(joblib.cpu_count()) as pool:
        for finding in pool.map(find, usable):
            yield finding
            if progress:
                counter.advance()


def _finding(
    root: Path, path: str, annotation: Annotation | None, line: int | None, settings: GainSettings
) -> VolumeFinding:
    try:
        volume = volumes.read(root / path)
    except FileError as error:
        return VolumeFinding(path, (Fault(path, None, None, str(error), "a readable volume"),))
    faults: list[Fault] = []
    notices: list[str] = []
    if annotation is not None:
        references = preprocess.measure_references(volume, annotation, settings.patch_mm)
        notices += references.flags
        faults += [Fault(ANNOTATIONS, line, *wrong) for wrong in _wrong_points(volume, annotation, references, path)]
    digest = hashlib.sha256(volume.voxels.tobytes()).hexdigest()
    return VolumeFinding(path, tuple(faults), tuple(notices), digest, volume.dynamic_range_db is not None)


def _range_notice(findings: list[VolumeFinding], settings: GainSettings) -> list[str]:
    """How many volumes are silent on their dynamic range: often all of a clinic's, so one line for them."""
    silent = [finding.path for finding in findings if finding.voxels_sha256 and not finding.states_range]
    if not silent:
        return []
    where = silent[0] if len(silent) == 1 else f"{len(silent)} sidecars, the first {silent[0]}"
    return [f"no DynamicRangeDB in {where}: {settings.dynamic_range_db:g} dB will be assumed"]


def _wrong_points(
    volume: Volume, annotation: Annotation, references: References, path: str
) -> Iterator[tuple[str, str, str]]:
    """Column, found and expected of reference points and ROI that cannot be what they are called."""
    bone, shadow = volume.voxels[annotation.bone], volume.voxels[annotation.shadow]
    weak = references.bone - references.shadow < preprocess.WEAK_CONTRAST
    # One dark speckle at the bone is no fault where all around it is bright; without that contrast the voxel decides.
    if references.bone <= references.shadow or (weak and bone <= shadow):
        found = f"grey {bone} at the bone ({references.bone:.0f} around it)"
        found += f" and {shadow} at the shadow ({references.shadow:.0f} around it) in {path}"
        yield "bone_i/j/k", found, "bone brighter than shadow"
    roi = volume.voxels[annotation.roi]
    if roi.min() == roi.max():
        yield "roi_i/j/k", f"a flat ROI (every voxel {roi.flat[0]}) in {path}", "more than one grey level"


def _same_voxels(findings: list[VolumeFinding]) -> list[Fault]:
    first: dict[str, str] = {}
    faults = []
    for finding in findings:
        if finding.voxels_sha256 in first:
            found = f"the same voxels as {first[finding.voxels_sha256]}"
            faults.append(Fault(finding.path, None, None, found, "different voxels for each segment"))
        elif finding.voxels_sha256 is not None:
            first[finding.voxels_sha256] = finding.path
    return faults


def _table_notices(cohort: Cohort) -> list[str]:
    """Who is excluded, and what in tables and folder is no fault but may be a mistake."""
    excluded = exclusions({PARTICIPANTS: cohort.participants, CLINICAL: cohort.clinical})
    notices = [f"{participant}: excluded, {reason}" for participant, reason in sorted(excluded.items())]
    out = segment_exclusions(cohort.annotations)
    notices += [f"{' '.join(key)}: excluded, {reason}" for key, reason in sorted(out.items())]
    for column, limit in (("age", "18 to 80 years"), ("bmi", "below 28 kg/m2")):
        unknown = cohort.patients.loc[cohort.patients[column].isna(), "participant_id"]
        notices += [f"{participant}: no {column}, so {limit} cannot be judged; kept" for participant in unknown]
    computed = cohort.patients["weight_kg"] / (cohort.patients["height_cm"] / 100) ** 2
    for patient, bmi in zip(cohort.patients.to_dict("records"), computed, strict=True):
        if pd.notna(bmi) and pd.notna(patient["bmi"]) and abs(bmi - patient["bmi"]) > 0.5:
            stated = f"BMI {patient['bmi']:.1f}, but height and weight give {bmi:.1f}"
            notices.append(f"{patient['participant_id']}: {stated}")
    if cohort.segments["label"].nunique() == 1:
        notices.append(f"all {len(cohort.segments)} segments have the same label: nothing can be told apart")
    orphans = cohort_files.orphan_sidecars(cohort.root)
    return notices + [f"{name}: a sidecar without its volume, so it is not read" for name in orphans]
