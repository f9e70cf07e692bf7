"""A cohort looked at once: sound, with what a reader should know, and apart from the cohort that it tests."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mflib import check
from mflib import cohort as cohorts
from mflib.cohort import Cohort, CohortError, Fault
from mflib.report import pipeline
from mflib.study import provenance
from mflib.study.profile import Profile


@dataclass(frozen=True, eq=False)
class Checked:
    """A cohort without faults.

    Parameters
    ----------
    cohort : it
    digest : of its tables and volumes
    notices : what ``mflib check`` notices about it
    voxels : SHA-256 of the voxels of each volume, by its path
    """

    cohort: Cohort
    digest: str
    notices: list[str]
    voxels: dict[str, str]


def look(profile: Profile, folder: Path, name: str = "checked.json") -> Checked:
    """Look at a cohort, or read what an earlier look at the same data, settings and sources has left.

    Parameters
    ----------
    folder : the cohort
    name : of the record in the artifacts of the run

    Raises
    ------
    CohortError
        Every fault of tables, headers and voxels.
    """
    kept = profile.run_folder / "artifacts" / name
    if kept.exists():
        known, cohort = json.loads(kept.read_text()), cohorts.load(folder)
        if known["looked_at"] == _looked_at(cohort, profile):
            return Checked(cohort, known["looked_at"]["cohort"], known["notices"], known["voxels"])
    inspection = check.inspect(folder, profile.preprocessing)
    if inspection.cohort is None or inspection.faults:
        raise CohortError(folder, inspection.faults)
    looked_at = _looked_at(inspection.cohort, profile)
    kept.parent.mkdir(parents=True, exist_ok=True)
    notices, voxels = inspection.notices, inspection.voxels
    pipeline.write_json(kept, {"looked_at": looked_at, "notices": notices, "voxels": voxels})
    return Checked(inspection.cohort, looked_at["cohort"], notices, voxels)


def check_apart(own: Checked, external: Checked) -> None:
    """Refuse an external cohort that shares a volume with the one that the models learn from.

    Raises
    ------
    CohortError
        Every volume that stands in both.
    """
    learnt = {digest: path for path, digest in own.voxels.items()}
    faults = [
        Fault(path, None, None, f"the voxels of {learnt[digest]} in {own.cohort.name}", "a volume the models never saw")
        for path, digest in external.voxels.items()
        if digest in learnt
    ]
    if faults:
        raise CohortError(external.cohort.root, faults)


def _looked_at(cohort: Cohort, profile: Profile) -> dict[str, Any]:
    """Everything that a look at the cohort depends on."""
    preprocessing = asdict(profile.preprocessing)
    return {"cohort": cohort.digest(), "preprocessing": preprocessing, "mflib": provenance.source_digest()}
