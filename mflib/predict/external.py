"""A second cohort as the models of a run see it: measured and scored, and nothing is learnt from it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from joblib.externals.loky import get_reusable_executor

from mflib import parallel
from mflib.cohort import Cohort
from mflib.dcnn import compute
from mflib.predict.models import LEARNT, Models, held_against, load, normalised
from mflib.predict.results import Applicability, External, PredictError, Result
from mflib.progress import Progress
from mflib.study import models as stored
from mflib.texture import bank
from mflib.volume import KEY

Outcome = tuple[dict[str, Result], Applicability]
# A worker reads the models of a run once.
_models = lru_cache(maxsize=1)(load)


def external(models: Models | Path, cohort: Cohort, *, workers: int, scheduler: str = "") -> External:
    """Score every segment of a cohort that the models have never seen.

    Every segment is looked at alone: what is said of it does not depend on the others. Texture is kept in the run's
    cache, so a call that was stopped goes on.

    Parameters
    ----------
    models : of a run, or its folder
    cohort : with labels, which only stand beside the scores
    workers, scheduler : processes here, or a Dask cluster in their place, see `parallel.outcomes`

    Raises
    ------
    PredictError
        The models cannot be used, or no segment could be assessed.
    """
    known = models if isinstance(models, Models) else load(models)
    segments = cohort.segments.to_dict("records")
    textures, failures = _textures(known, cohort, segments, workers, scheduler)
    done: dict[int, Outcome] = {}
    order = sorted(textures)
    items = [(cohort, segments[n], textures[n]) for n in order]
    if workers > 1 and not scheduler:
        # Workers that have measured texture are small; grown by torch they would be taken for leaking memory.
        get_reusable_executor().shutdown()
    progress = Progress("external volumes", len(items))
    # A GPU serves one process; networks of several would not find room on it.
    processes = 1 if compute.device().type == "cuda" else workers
    for position, outcome in parallel.outcomes(_assessed, known.run, items, workers=processes, scheduler=scheduler):
        if isinstance(outcome, PredictError):
            failures[order[position]] = str(outcome)
        elif isinstance(outcome, Exception):
            failures[order[position]] = f"{type(outcome).__name__}: {outcome}"
        else:
            done[order[position]] = outcome
        progress.advance(note=f"{len(failures)} failed" if failures else "")
    if not done:
        raise PredictError(f"no segment of {cohort.name} could be assessed; the first: {failures[min(failures)]}")
    return _gathered(known, cohort.segments, done, failures)


def _textures(
    models: Models, cohort: Cohort, segments: list[dict[str, Any]], workers: int, scheduler: str
) -> tuple[dict[int, pd.Series], dict[int, str]]:
    """What the forests ask for, by position of the segment, or the reason why there is none."""
    asked = models.scorers
    jobs = [
        bank.Job(cohort.root / segment["path"], cohort.annotation(segment), asked.preprocessing, asked.texture)
        for segment in segments
    ]
    cache = models.run / "artifacts" / "cache"
    measured, failures = bank.run(jobs, cache, workers=workers, scheduler=scheduler, label="external texture")
    return {n: pd.Series(values, index=jobs[n].names) for n, values in measured.items()}, failures


def _assessed(run: Path, item: tuple[Cohort, Mapping[str, Any], pd.Series]) -> Outcome:
    """What the models say of one segment; runs in a worker."""
    cohort, segment, measured = item
    asked = _models(run).scorers
    volume, annotation = cohort.volume(segment), cohort.annotation(segment)
    if stored.voxels_digest(volume) in asked.seen.reference.voxels:
        raise PredictError(LEARNT)
    region, texture = normalised(volume, annotation, asked.preprocessing), asked.complete(measured)
    results = asked.results(texture, asked.input(region))
    return results, held_against(asked.seen, volume, annotation, region, texture)


def _gathered(
    models: Models, segments: pd.DataFrame, done: Mapping[int, Outcome], failures: Mapping[int, str]
) -> External:
    """The tables, in the order of the segments."""
    keys, order = segments[KEY].to_dict("records"), sorted(done)
    scored, probable, applicable, features = [], [], [], []
    for n in order:
        results, verdict = done[n]
        for name, result in results.items():
            label = {"y_true": int(segments["label"].iloc[n]), "score": result.score, "threshold": result.threshold}
            scored.append({**keys[n], "model": name, "split": "patient", "repeat": 0, "fold": 0, **label})
            said = {"probability": result.probability, "low": result.low, "high": result.high}
            probable.append({**keys[n], "model": name, **said})
        told = {"verdict": verdict.verdict, "distance": verdict.distance, "percentile": verdict.percentile}
        applicable.append({**keys[n], **told, "reasons": " ".join(verdict.reasons)})
        features.append(verdict.features[verdict.features["outside"]].assign(**keys[n]))
    columns = [*KEY, "feature", "value", "low", "high", "outside"]
    return External(
        predictions=pd.DataFrame(scored),
        probabilities=pd.DataFrame(probable).astype(dict.fromkeys(("probability", "low", "high"), float)),
        applicability=pd.DataFrame(applicable),
        features=pd.concat(features, ignore_index=True)[columns],
        failures=pd.DataFrame([{**keys[n], "reason": failures[n]} for n in sorted(failures)], columns=[*KEY, "reason"]),
        own_distances=models.scorers.seen.own,
    )
