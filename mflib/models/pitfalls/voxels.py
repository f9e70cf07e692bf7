"""What the voxels tell: recorded with another gain, and with their places shuffled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mflib.base import parallel
from mflib.base.progress import Progress
from mflib.data import preprocess
from mflib.data.cohort import Cohort
from mflib.models import folds as division
from mflib.models.pitfalls import experiment
from mflib.models.pitfalls.experiment import COHORT, Job, PitfallsSettings, Rows, collected
from mflib.models.texture import bank, glcm, intensity

LEVELS, OFFSET = 64, (1, 0, 0)
GAIN = ("as recorded", "gain-normalised")
PLACES = ("voxels shuffled", "voxels in place")
# Where the features of `_of_gain` and `_of_places` lie.
MEASURES = {"echo intensity": slice(0, 1), "GLCM": slice(1, 7)}
FAMILIES = {"first-order": slice(0, 5), "Nakagami": slice(5, 7), "GLCM": slice(7, 13)}
# Who of the patients was recorded with the other gain.
NOBODY, HALF, FATTY = "gain as it was", "another gain for a random half", "another gain for the fattier half"
Floats = NDArray[np.float64]
Segment = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class _Source:
    """Where a volume comes from, and how it is measured."""

    cohort: Cohort
    preprocessing: preprocess.GainSettings
    texture: bank.TextureSettings
    gain_db: float
    seed: int


@dataclass(frozen=True, eq=False)
class _Data:
    """Measured segments: ``values`` (n, ..., features)."""

    values: Floats
    segments: pd.DataFrame
    seed: int
    n_folds: int

    @property
    def labels(self) -> NDArray[np.int64]:
        return self.segments["label"].to_numpy(np.int64)

    def rows(self, job: Job, ways: tuple[str, str], values: tuple[Floats, Floats]) -> Rows:
        """The AUC of both ways, of a logistic regression on the same folds."""
        patients = self.segments["participant_id"]
        folds = division.make(self.labels, patients, n_folds=self.n_folds, seed=self.seed, repeat=job.repetition)
        areas = [experiment.mean_auc(experiment.logistic_model(), columns, self.labels, folds) for columns in values]
        return [job.row(way, auc, right=way == ways[1]) for way, auc in zip(ways, areas, strict=True)]


def gain(
    cohort: Cohort,
    preprocessing: preprocess.GainSettings,
    texture: bank.TextureSettings,
    settings: PitfallsSettings,
    seed: int,
    *,
    gain_db: float = 6.0,
    n_folds: int = 5,
    workers: int = 1,
) -> pd.DataFrame:
    """What does another gain do to echo intensity and to texture, and what does normalisation do about it?

    A half of the patients is taken as if recorded with another gain: nobody, a random half, or the half with the
    larger share of infiltrated segments, as where a second scanner stands in the ward of the sicker. Mean echo
    intensity, and six GLCM properties (64 levels, one voxel sideways), each go into a logistic regression that is
    cross-validated by patient; measured as recorded, and after two-point normalisation. Source: the paper's methods 3;
    Pillen & van Alfen 2011, Neurol Res 33:1016, on gain and echo intensity.

    Parameters
    ----------
    cohort : a few segments per patient are read
    preprocessing, texture : of the study
    settings : ``repetitions`` and ``volumes``
    seed : of folds and random halves
    gain_db : change of the gain in dB, as `preprocess.change_gain`
    n_folds, workers : folds of each cross-validation; processes

    Returns
    -------
    DataFrame
        `results.COLUMNS`, the value being the AUC, mean over folds.
    """
    source = _Source(cohort, preprocessing, texture, gain_db, seed)
    data = _measured(_of_gain, source, settings, n_folds, workers)
    jobs = [
        Job(COHORT, f"{measure}, {who}", n)
        for measure in MEASURES
        for who in (NOBODY, HALF, FATTY)
        for n in range(settings.repetitions)
    ]
    return collected(_gain, data, jobs, workers, GAIN, "cross-validations with another gain")


def _of_gain(source: _Source, segment: Segment) -> Floats:
    """Mean and GLCM of one region (gain, way, feature): both gains, as recorded and normalised."""
    volume, annotation = source.cohort.volume(segment), source.cohort.annotation(segment)
    found = []
    for gain_db in (0.0, source.gain_db):
        changed = preprocess.change_gain(volume, gain_db, source.preprocessing)
        region = preprocess.region(changed, annotation, source.preprocessing)
        found.append([[v.mean(), *_glcm(v, source.texture)] for v in (region.raw, region.voxels)])
    return np.array(found)


def _gain(data: _Data, job: Job) -> Rows:
    measure, who = job.case.split(", ")
    louder = _louder(data, who, np.random.default_rng([data.seed, job.repetition]))
    chosen = data.values[np.arange(len(louder)), louder.astype(int)][..., MEASURES[measure]]
    return data.rows(job, GAIN, (chosen[:, 0], chosen[:, 1]))


def _louder(data: _Data, who: str, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Segments (n,) of the patients that were recorded with the other gain."""
    share = data.segments.groupby("participant_id")["label"].mean()
    # Of equal shares chance decides.
    order = share.iloc[rng.permutation(len(share))]
    half = (order.sort_values(kind="stable") if who == FATTY else order).index[len(share) // 2 :]
    return data.segments["participant_id"].isin(half if who != NOBODY else []).to_numpy()


def shuffled(
    cohort: Cohort,
    preprocessing: preprocess.GainSettings,
    texture: bank.TextureSettings,
    settings: PitfallsSettings,
    seed: int,
    *,
    n_folds: int = 5,
    workers: int = 1,
) -> pd.DataFrame:
    """Does texture say more than the grey levels without their places?

    The voxels of each region are shuffled. First-order statistics cannot notice. A GLCM can, and what is left of it is
    what grey levels alone say: where its AUC does not fall, it was no texture that told the classes apart. Source:
    Welch 2019 (doi:10.1016/j.radonc.2018.10.027), who found a survival signature of CT that did not.

    Parameters
    ----------
    cohort, preprocessing, texture, settings, n_folds, workers : as in `gain`
    seed : of folds and shuffles

    Returns
    -------
    DataFrame
        `results.COLUMNS`, the value being the AUC, mean over folds; the right way is that with the voxels in place.
    """
    source = _Source(cohort, preprocessing, texture, 0.0, seed)
    data = _measured(_of_places, source, settings, n_folds, workers)
    jobs = [Job(COHORT, family, n) for family in FAMILIES for n in range(settings.repetitions)]
    return collected(_shuffled, data, jobs, workers, PLACES, "cross-validations with shuffled voxels")


def _shuffled(data: _Data, job: Job) -> Rows:
    of_family = data.values[..., FAMILIES[job.case]]
    return data.rows(job, PLACES, (of_family[:, 0], of_family[:, 1]))


def _of_places(source: _Source, segment: Segment) -> Floats:
    """First-order, Nakagami and GLCM features of one region (way, feature): shuffled, and in place."""
    volume = source.cohort.volume(segment)
    region = preprocess.region(volume, source.cohort.annotation(segment), source.preprocessing)
    rng = np.random.default_rng([source.seed, *str(segment["path"]).encode()])
    return np.array([features(v, region, source.texture) for v in (shuffle(region.voxels, rng), region.voxels)])


def shuffle(voxels: NDArray[np.uint8], seed: int | np.random.Generator) -> NDArray[np.uint8]:
    """The same grey levels in other places, drawn by a seed or a generator."""
    return np.random.default_rng(seed).permutation(voxels.ravel()).reshape(voxels.shape)


def features(voxels: NDArray[np.uint8], region: preprocess.Region, texture: bank.TextureSettings) -> Floats:
    """Five first-order statistics, Nakagami m and omega, six GLCM properties, in the order of `FAMILIES`.

    Parameters
    ----------
    voxels : of the region, in place or not
    region : where they come from, for the dynamic range
    texture : symmetry of the GLCM, input and estimator of Nakagami
    """
    kind = {"input": texture.nakagami_input, "estimator": texture.nakagami_estimator}
    fit = intensity.fit(voxels, region.dynamic_range_db, **kind)  # type: ignore[arg-type]
    return np.array([*intensity.features(voxels), fit.m, fit.omega, *_glcm(voxels, texture)])


def some_per_patient(segments: pd.DataFrame, count: int) -> pd.DataFrame:
    """A few segments of each patient, neighbours in the table; from the first of the first patient on, and so around.

    Parameters
    ----------
    segments : one row per segment, with ``participant_id``
    count : of each patient; all where there are fewer
    """
    chosen = [
        group.iloc[sorted((n + k) % len(group) for k in range(min(count, len(group))))]
        for n, (_, group) in enumerate(segments.groupby("participant_id", sort=False))
    ]
    return pd.concat(chosen, ignore_index=True)


def _glcm(voxels: NDArray[np.uint8], texture: bank.TextureSettings) -> pd.Series:
    return glcm.properties(glcm.matrix(voxels, OFFSET, LEVELS, symmetric=texture.symmetric))


def _measured(
    measure: Callable[[_Source, Segment], Floats],
    source: _Source,
    settings: PitfallsSettings,
    n_folds: int,
    workers: int,
) -> _Data:
    segments = some_per_patient(source.cohort.segments, settings.volumes)
    records = segments.to_dict("records")
    values: dict[int, Floats] = {}
    progress = Progress("volumes", len(records))
    for position, outcome in parallel.outcomes(measure, source, records, workers=workers):
        if isinstance(outcome, Exception):
            outcome.add_note(f"in {records[position]['path']}")
            raise outcome
        values[position] = outcome
        progress.advance()
    return _Data(np.stack([values[n] for n in range(len(records))]), segments, source.seed, n_folds)
