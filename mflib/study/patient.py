"""One offline HTML page per patient: what the models say of each volume, and whether they may be asked at all."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from mflib.base import files, spoken
from mflib.base.language import language, say
from mflib.base.words import LEVELS, SIDE_NAMES, SIDES, label
from mflib.show import shown
from mflib.show.viewer import view
from mflib.stats.performance.predictions import estimate
from mflib.study import kept, predict
from mflib.study.applicability import Verdict
from mflib.study.predict import CALLS, VERDICTS, WORD, Assessment, ModelResult, Models
from mflib.study.volumes import cropped

# A sign beside the word, so that nothing hangs on colour.
SIGNS: dict[Verdict, str] = {"inside": "\u2713", "at the edge": "!", "outside": "\u2715"}


def run(models: Models) -> dict[str, Any]:
    """What is said of the models: how good they were on their own patients, and what they are."""
    quality = [
        {
            "model": label(row["model"]),
            "auc": estimate(row, "auc"),
            **{name: "n/a" if pd.isna(row[name]) else f"{row[name]:.2f}" for name in ("sensitivity", "specificity")},
            "of": f"{row['segments']:.0f} segments of {row['patients']:.0f} patients",
        }
        for row in models.performance.to_dict("records")
    ]
    provenance = [("Trained on", models.cohort.name), *models.profile.items(), ("Commit", models.commit)]
    provenance += [("Packages", ", ".join(f"{name} {version}" for name, version in models.versions.items()))]
    return {"quality": quality, "provenance": provenance + list(models.files.items())}


def volume(assessment: Assessment, models: Models, anchor: str) -> dict[str, Any]:
    """What the page says of one volume; ``anchor`` is its id."""
    found, key, results = assessment.applicability, assessment.key, assessment.results.values()
    areas = models.performance.set_index("model")
    outside = found.features[found.features["outside"].astype(bool)]
    farthest = outside.sort_values("beyond", ascending=False, kind="stable").to_dict("records")
    return {
        "id": anchor,
        "title": f"{key[1]} {SIDE_NAMES[key[2]]}" if key else assessment.name,
        "assessment": assessment,
        "verdict": found.verdict,
        "sign": SIGNS[found.verdict],
        "words": VERDICTS[found.verdict],
        "withheld": found.verdict == "outside",
        "results": [_result(result, areas) for result in results],
        "disagree": len({result.called for result in results}) > 1,
        "notes": list(dict.fromkeys(result.note for result in results if result.note)),
        "features": [row | {"name": label(row["feature"]), "far": _beyond(row)} for row in farthest],
        "acquisition": _acquisition(assessment),
        "viewer": _viewer(assessment),
    }


def _result(result: ModelResult, areas: pd.DataFrame) -> dict[str, Any]:
    return {
        "model": label(result.model),
        "call": CALLS[result.called],
        "said": result,
        "probability": estimate(vars(result), "probability"),
        "auc": estimate(areas.loc[result.model], "auc") if result.model in areas.index else "n/a",
    }


def _beyond(row: Mapping[Hashable, Any]) -> str:
    side, share = "above" if row["value"] > row["high"] else "below", row["beyond"]
    if not np.isfinite(share):
        return side
    return f"{side}, by {100 * share:.0f} % of the range" if share < 10 else f"{side}, by {share:.0f} times the range"


def _acquisition(assessment: Assessment) -> list[tuple[str, str]]:
    """What the picture was taken with; of the sidecar nothing but what the models look at too."""
    recorded = assessment.volume
    numbers = kept.acquisition(recorded, assessment.annotation, assessment.region)
    rows = [(name, "not stated" if value is None else f"{value:.3g}") for name, value in numbers.items()]
    return rows + [(name, str(recorded.sidecar[name])[:WORD]) for name in kept.WORDS if name in recorded.sidecar]


def _viewer(assessment: Assessment) -> Markup:
    shown, annotation = cropped(assessment.volume, assessment.annotation)
    withheld = assessment.applicability.verdict == "outside"
    saliency = assessment.saliency if assessment.saliency.any() and not withheld else None
    caption = ["As recorded, around the region of interest and the two reference points."]
    if saliency is not None:
        caption.append("Saliency: what the network's call rests on, the mean of its folds' Grad-CAMs.")
    elif withheld:
        caption.append("Without saliency, which is not to be read either.")
    html = view(shown, annotation, saliency, caption=" ".join(caption)).html
    return Markup(html if language() == "en" else spoken.html(html, say))


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
    written: list[Path] = []
    for subject, of_subject in groupby(sorted(assessments, key=_place), lambda assessment: _place(assessment)[0]):
        own = list(of_subject)
        volumes = [volume(assessment, models, f"volume-{n}") for n, assessment in enumerate(own, 1)]
        keyed = [(assessment.key, volume) for assessment, volume in zip(own, volumes, strict=True) if assessment.key]
        levels = [level for level in LEVELS if any(key[1] == level for key, _ in keyed)]
        grid = {
            level: {side: [v for key, v in keyed if key[1:] == (level, side)] for side in SIDES} for level in levels
        }
        said = {"subject": subject, "volumes": volumes, "grid": grid if len(keyed) > 1 else {}, **run(models)}
        page = shown.page("predict.html.j2", ["page.css", "predict.css"], models=models, predict=predict, **said)
        written.append(_free(folder, subject, written))
        files.write_text(written[-1], page)
    return written


def _place(assessment: Assessment) -> tuple[str, int, str]:
    """Patient, and the order of level and side; a volume without a key stands alone."""
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
