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

UNSEEN = "another cohort, which the models never saw"


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


def check_distinct(cohort: Path, external: Path | None) -> None:
    """Refuse an external cohort that is the very folder that the models learn from, before either is looked at.

    Raises
    ------
    CohortError
        Both paths lead to one folder.
    """
    if external is not None and external.resolve() == cohort.resolve():
        raise CohortError(external, [Fault(str(external), None, None, "the cohort itself", UNSEEN)])


def check_apart(own: Checked, external: Checked) -> None:
    """Refuse an external cohort that shares a volume with the one that the models learn from.

    Raises
    ------
    CohortError
        Every volume that stands in both, or their number where that is all of them.
    """
    learnt = {digest: path for path, digest in own.voxels.items()}
    shared = {path: learnt[digest] for path, digest in external.voxels.items() if digest in learnt}
    name, root = own.cohort.name, external.cohort.root
    if shared and len(shared) == len(external.voxels):
        found = f"the voxels of {name} in all {len(shared)} volumes"
        raise CohortError(root, [Fault(root.name, None, None, found, UNSEEN)])
    faults = [
        Fault(path, None, None, f"the voxels of {twin} in {name}", "a volume the models never saw")
        for path, twin in shared.items()
    ]
    if faults:
        raise CohortError(root, faults)


def _looked_at(cohort: Cohort, profile: Profile) -> dict[str, Any]:
    """Everything that a look at the cohort depends on."""
    preprocessing = asdict(profile.preprocessing)
    return {"cohort": cohort.digest(), "preprocessing": preprocessing, "mflib": provenance.source_digest()}
