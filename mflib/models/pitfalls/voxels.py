"""What the voxels tell: recorded with another gain, and with their places shuffled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mflib.base import parallel
from mflib.data import preprocess
from mflib.data.cohort import Cohort
from mflib.models.pitfalls import experiment
from mflib.models.pitfalls.experiment import COHORT, Data, Floats, Job, PitfallsSettings, Rows, collected
from mflib.models.texture import bank, glcm, intensity

LEVELS, OFFSET = 64, (1, 0, 0)
GAIN = ("as recorded", "gain-normalised")
PLACES = ("voxels shuffled", "voxels in place")
# Where the features of `_of_gain` and `_of_places` lie.
MEASURES = {"echo intensity": slice(0, 1), "GLCM": slice(1, 7)}
FAMILIES = {"first-order": slice(0, 5), "Nakagami": slice(5, 7), "GLCM": slice(7, 13)}
# Who of the patients was recorded with the other gain.
NOBODY, HALF, FATTY = "gain as it was", "another gain for a random half", "another gain for the fattier half"
Segment = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Volumes:
    """A cohort whose voxels are read, and how they are normalised and measured."""

    cohort: Cohort
    preprocessing: preprocess.GainSettings
    texture: bank.TextureSettings


def gain(
    volumes: Volumes,
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
    volumes : of the study; a few segments per patient are read
    settings : ``repetitions`` and ``volumes``
    seed : of folds and random halves
    gain_db : change of the gain in dB, as `preprocess.change_gain`
    n_folds, workers : folds of each cross-validation; processes

    Returns
    -------
    DataFrame
        `experiment.COLUMNS`, the value being the AUC, mean over folds.
    """
    segments = some_per_patient(volumes.cohort.segments, settings.volumes)
    records = segments.to_dict("records")
    values = np.stack(parallel.in_order(_of_gain, (volumes, gain_db), records, "volumes", workers=workers))
    data = Data(values, segments["label"].to_numpy(np.int64), segments, settings, seed, n_folds)
    jobs = [
        Job(COHORT, f"{measure}, {who}", n)
        for measure in MEASURES
        for who in (NOBODY, HALF, FATTY)
        for n in range(settings.repetitions)
    ]
    return collected(_gain, data, jobs, workers, GAIN, "cross-validations with another gain")


def _of_gain(shared: tuple[Volumes, float], segment: Segment) -> Floats:
    """Mean and GLCM of one region (gain, way, feature): both gains, as recorded and normalised."""
    source, other_db = shared
    volume, annotation = source.cohort.volume(segment), source.cohort.annotation(segment)
    found = []
    for gain_db in (0.0, other_db):
        changed = preprocess.change_gain(volume, gain_db, source.preprocessing)
        region = preprocess.region(changed, annotation, source.preprocessing)
        found.append([[v.mean(), *_glcm(v, source.texture)] for v in (region.raw, region.voxels)])
    return np.array(found)


def _gain(data: Data, job: Job) -> Rows:
    measure, who = job.case.split(", ")
    louder = _louder(data.keys, who, data.rng(job))
    chosen = data.values[np.arange(len(louder)), louder.astype(int)][..., MEASURES[measure]]
    return _rows(data, job, GAIN, chosen)


def _rows(data: Data, job: Job, ways: tuple[str, str], values: Floats) -> Rows:
    """The AUC of both ways, of a logistic regression on the same folds; values (n, way, feature)."""
    folds, model = data.folds(data.own, job), experiment.logistic_model()
    return job.rows(ways, [experiment.mean_auc(model, values[:, n], data.labels, folds) for n in range(len(ways))])


def _louder(segments: pd.DataFrame, who: str, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Segments (n,) of the patients that were recorded with the other gain."""
    share = segments.groupby("participant_id")["label"].mean()
    # Of equal shares chance decides.
    order = share.iloc[rng.permutation(len(share))]
    half = (order.sort_values(kind="stable") if who == FATTY else order).index[len(share) // 2 :]
    return segments["participant_id"].isin(half if who != NOBODY else []).to_numpy()


def shuffled(
    volumes: Volumes, settings: PitfallsSettings, seed: int, *, n_folds: int = 5, workers: int = 1
) -> pd.DataFrame:
    """Does texture say more than the grey levels without their places?

    The voxels of each region are shuffled. First-order statistics cannot notice. A GLCM can, and what is left of it is
    what grey levels alone say: where its AUC does not fall, it was no texture that told the classes apart. Source:
    Welch 2019 (doi:10.1016/j.radonc.2018.10.027), who found a survival signature of CT that did not.

    Parameters
    ----------
    volumes, settings, n_folds, workers : as in `gain`
    seed : of folds and shuffles

    Returns
    -------
    DataFrame
        `experiment.COLUMNS`, the value being the AUC, mean over folds; the right way is that with the voxels in place.
    """
    segments = some_per_patient(volumes.cohort.segments, settings.volumes)
    records = segments.to_dict("records")
    values = np.stack(parallel.in_order(_of_places, (volumes, seed), records, "volumes", workers=workers))
    data = Data(values, segments["label"].to_numpy(np.int64), segments, settings, seed, n_folds)
    jobs = [Job(COHORT, family, n) for family in FAMILIES for n in range(settings.repetitions)]
    return collected(_shuffled, data, jobs, workers, PLACES, "cross-validations with shuffled voxels")


def _shuffled(data: Data, job: Job) -> Rows:
    return _rows(data, job, PLACES, data.values[..., FAMILIES[job.case]])


def _of_places(shared: tuple[Volumes, int], segment: Segment) -> Floats:
    """First-order, Nakagami and GLCM features of one region (way, feature): shuffled, and in place."""
    source, seed = shared
    region = preprocess.region(source.cohort.volume(segment), source.cohort.annotation(segment), source.preprocessing)
    rng = np.random.default_rng([seed, *str(segment["path"]).encode()])
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
    texture : symmetry of the GLCM, input of Nakagami
    """
    fit = intensity.fit(voxels, region.dynamic_range_db, texture.nakagami_input)
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
