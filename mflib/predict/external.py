"""A second cohort as the models of a run see it: measured and scored, and nothing is learnt from it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import pandas as pd

from mflib import parallel
from mflib import volume as volumes
from mflib.cohort import Cohort
from mflib.dcnn import compute
from mflib.predict.models import LEARNT, Models, load, look
from mflib.predict.results import Applicability, External, PredictError, Result
from mflib.progress import Progress
from mflib.study import models as stored
from mflib.volume import KEY, Annotation, VolumeError

Item = tuple[Path, Annotation]
Outcome = tuple[dict[str, Result], Applicability]

# Seconds after which the pace is known, and what it costs at least to import torch and read all models once more.
LOOK, START = 10.0, 60.0
# A worker reads the models of a run once.
_models = lru_cache(maxsize=1)(load)


def external(models: Models, cohort: Cohort, *, workers: int, scheduler: str = "") -> External:
    """Score every segment of a cohort that the models have never seen.

    Every segment is looked at alone: what is said of it does not depend on the others.

    Parameters
    ----------
    models : of a run
    cohort : with labels, which only stand beside the scores
    workers, scheduler : processes here, or a Dask cluster in their place, for what would take this process long

    Raises
    ------
    PredictError
        No segment could be assessed.
    """
    items = [(cohort.root / one["path"], cohort.annotation(one)) for one in cohort.segments.to_dict("records")]
    progress = Progress("external volumes", len(items))
    done: dict[int, Outcome] = {}
    failures: dict[int, str] = {}
    for n, outcome in _outcomes(models, items, workers, scheduler):
        if not isinstance(outcome, Exception):
            done[n] = outcome
        elif isinstance(outcome, PredictError | VolumeError):
            failures[n] = str(outcome)
        else:
            failures[n] = f"{type(outcome).__name__}: {outcome}"
        progress.advance(note=f"{len(failures)} failed" if failures else "")
    if not done:
        raise PredictError(f"no segment of {cohort.name} could be assessed; the first: {failures[min(failures)]}")
    return _gathered(models, cohort.segments, done, failures)


def _outcomes(
    models: Models, items: Sequence[Item], workers: int, scheduler: str
) -> Iterator[tuple[int, Outcome | Exception]]:
    """Position and outcome of each segment; what would take this process longer than the others' start goes to them."""
    # A GPU serves one process; networks of several would not find room on it.
    others = bool(scheduler) or (workers > 1 and compute.device().type != "cuda")
    start, done = time.monotonic(), 0
    for done, outcome in enumerate(parallel.outcomes(_assessed, models, items, workers=1), 1):
        yield outcome
        spent = time.monotonic() - start
        if others and spent >= LOOK and spent / done * (len(items) - done) >= START:
            break
    rest = parallel.outcomes(_assessed_elsewhere, models.run, items[done:], workers=workers, scheduler=scheduler)
    yield from ((done + n, outcome) for n, outcome in rest)


def _assessed(models: Models, item: Item) -> Outcome:
    path, annotation = item
    volume = volumes.read(path)
    if stored.voxels_digest(volume) in models.scorers.seen.reference.voxels:
        raise PredictError(LEARNT)
    found = look(models.scorers, volume, annotation)
    return found.results, found.applicability


def _assessed_elsewhere(run: Path, item: Item) -> Outcome:
    """Runs in a worker."""
    return _assessed(_models(run), item)


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
