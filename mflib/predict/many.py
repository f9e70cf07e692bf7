"""Volume after volume: one that cannot be assessed keeps none of the others from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mflib import volume as volumes
from mflib.predict.described import cropped
from mflib.predict.models import Models
from mflib.predict.results import Assessment, PredictError
from mflib.predict.table import printable
from mflib.predict.volumes import find
from mflib.progress import Progress
from mflib.volume import Annotation, VolumeError, stem


def assess_all(
    models: Models, paths: Sequence[Path], annotations: Path | None = None
) -> tuple[list[Assessment], dict[Path, str]]:
    """All that the models say of volumes, read one at a time.

    What somebody has excluded from a cohort folder is left out, and said so; a volume that is named itself is refused.

    Parameters
    ----------
    models : of a run
    paths, annotations : see `volumes.find`

    Returns
    -------
    (list of Assessment, dict)
        The assessments, whose volume is the part around the annotation, since a cohort's whole volumes would fill the
        memory; and of each volume that cannot be assessed, what was found and what was expected.

    Raises
    ------
    PredictError
        As `volumes.find`.
    """
    asked = find(paths, annotations)
    for path, reason in asked.excluded.items():
        print(printable(f"{path.name}: left out, excluded by whoever annotated it ({reason})"), flush=True)
    progress, assessments, failures = Progress("volumes", len(asked.annotated)), [], dict(asked.failures)
    for path, annotation in asked.annotated.items():
        try:
            assessments.append(_assessed(models, path, annotation))
        except (PredictError, VolumeError) as error:
            failures[path] = str(error)
        progress.advance(note=f"{len(failures)} failed" if failures else "")
    return assessments, failures


def failed(failures: Mapping[Path, str], total: int) -> str:
    """Lines for a terminal: how many of all volumes could not be assessed, and why."""
    lines = [f"{len(failures)} of {total} volumes could not be assessed:"]
    return "\n".join([*lines, *(printable(f"  {reason}") for reason in failures.values())])


def _assessed(models: Models, path: Path, annotation: Annotation) -> Assessment:
    found = models.assess(volumes.read(path), annotation, stem(path))
    part, moved = cropped(found.volume, annotation)
    return replace(found, volume=part, annotation=moved)
