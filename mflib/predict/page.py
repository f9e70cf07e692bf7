"""One offline HTML page per patient: what the models say of each volume, and whether they may be asked at all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from mflib import atomic
from mflib.predict import described, words
from mflib.predict.models import Models
from mflib.predict.results import Assessment
from mflib.volume import LEVELS, SIDES

ASSETS = Path(__file__).parents[1] / "_assets"


def write(models: Models, assessments: Sequence[Assessment], folder: Path) -> list[Path]:
    """Write a page for each patient, and for each volume whose name does not say whose it is.

    The same models and volumes give the same bytes.

    Parameters
    ----------
    models : of the run
    assessments : of any number of patients
    folder : where the pages go; made where it does not exist

    Returns
    -------
    list of Path
        ``sub-001.html`` for a patient, else the name of the volume, made safe for a file system.
    """
    environment = Environment(loader=FileSystemLoader(ASSETS), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.get_template("predict.html.j2")
    style = Markup("".join((ASSETS / name).read_text(encoding="utf-8") for name in ("page.css", "predict.css")))
    common = {"style": style, "models": models, "words": words, **described.run(models)}
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for subject, own in _subjects(assessments).items():
        path = _free(folder, subject, written)
        atomic.write_text(path, template.render(**common, **_patient(subject, own, models)))
        written.append(path)
    return written


def _subjects(assessments: Sequence[Assessment]) -> dict[str, list[Assessment]]:
    """The volumes of each patient in the order of level and side; one without a key stands alone."""
    found: dict[str, list[Assessment]] = {}
    for assessment in sorted(assessments, key=_place):
        found.setdefault(assessment.key[0] if assessment.key else assessment.name, []).append(assessment)
    return found


def _place(assessment: Assessment) -> tuple[str, int, str]:
    if assessment.key is None:
        return assessment.name, 0, ""
    participant, level, side = assessment.key
    return participant, LEVELS.index(level), side


def _free(folder: Path, subject: str, taken: Sequence[Path]) -> Path:
    """A file name of letters, digits, dot, hyphen and underscore that no other page has, whatever its case."""
    safe = re.sub(r"[^0-9A-Za-z._-]+", "_", subject).strip("._-")[:80] or "volume"
    names = {path.name.casefold() for path in taken}
    number, name = 1, f"{safe}.html"
    while name.casefold() in names:
        number, name = number + 1, f"{safe}-{number + 1}.html"
    return folder / name


def _patient(subject: str, own: Sequence[Assessment], models: Models) -> dict[str, Any]:
    """What the template needs of one patient."""
    volumes = [described.volume(assessment, models, f"volume-{n}") for n, assessment in enumerate(own, 1)]
    keyed = [(assessment.key, volume) for assessment, volume in zip(own, volumes, strict=True) if assessment.key]
    levels = [level for level in LEVELS if any(key[1] == level for key, _ in keyed)]
    grid = {level: {side: [v for key, v in keyed if key[1:] == (level, side)] for side in SIDES} for level in levels}
    return {"subject": subject, "volumes": volumes, "grid": grid if len(keyed) > 1 else {}}
