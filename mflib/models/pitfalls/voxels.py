"""What the voxels tell: recorded with another gain, and with their places shuffled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mflib.base import parallel
from mflib.base.errors import InputError
from mflib.data import preprocess
from mflib.data.cohort import Cohort
from mflib.models.pitfalls import experiment
from mflib.models.pitfalls.experiment import COHORT, Data, Floats, Job, PitfallsSettings, Rows, collected
from mflib.models.texture import bank, glcm, intensity
from mflib.models.texture.robustness import some_per_patient
from mflib.stats import roc

LEVELS, OFFSET = 64, (1, 0, 0)
GAIN = ("as recorded", "gain-normalised")
PLACES = ("voxels shuffled", "voxels in place")
# Where the features of `_of_gain` and `_of_places` lie.
TEXTURE = "GLCM"
MEASURES = {"echo intensity": slice(0, 1), TEXTURE: slice(1, 7)}
FAMILIES = {"first-order": slice(0, 5), "Nakagami": slice(5, 7), TEXTURE: slice(7, 13)}
# Who of the patients was recorded with the other gain.
NOBODY, HALF, FATTY = LOUDER = ("gain as it was", "another gain for a random half", "another gain for the fattier half")
Segment = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Volumes:
    """A cohort whose voxels are read, and how they are normalised and measured; the voxel size is a number."""

    cohort: Cohort
    preprocessing: preprocess.GainSettings
    texture: bank.TextureSettings


def gain(
    volumes: Volumes, settings: PitfallsSettings, seed: int, *, gain_db: float = 6.0, n_folds: int = 5, workers: int = 1
) -> pd.DataFrame:
    """What does another gain do to echo intensity and to texture, and what does normalisation do about it?

    A half of the patients is taken as if recorded with another gain: nobody, a random half, or the half with the
    larger share of infiltrated segments, as where a second scanner stands in the ward of the sicker. Mean echo
    intensity of every segment, and six GLCM properties (64 levels, one voxel sideways) of a few, each go into a
    logistic regression that is cross-validated by patient; measured as recorded, and after two-point normalisation.
    Source: the paper's methods 2 (3); Pillen & van Alfen 2011, Neurol Res 33:1016, on gain and echo intensity.

    Parameters
    ----------
    volumes : of the study; all are read
    settings : ``repetitions`` and ``volumes``
    seed : of folds and random halves
    gain_db : change of the gain in dB, as `preprocess.change_gain`
    n_folds, workers : folds of each cross-validation; processes

    Returns
    -------
    DataFrame
        `experiment.COLUMNS`, the value being the AUC, mean over folds.
    """
    segments, some = volumes.cohort.segments, some_per_patient(volumes.cohort.segments, settings.volumes)
    records = segments.assign(few=segments["path"].isin(some["path"])).to_dict("records")
    values = np.stack(parallel.in_order(_of_gain, (volumes, gain_db), records, "volumes", workers=workers))
    found = []
    for measure, columns in MEASURES.items():
        of, rows = values[..., columns], ~np.isnan(values[:, 0, 0, columns]).any(axis=1)
        labels = segments["label"].to_numpy(np.int64)[rows]
        data = Data(of[rows], labels, segments[rows], settings, seed, n_folds)
        jobs = [Job(COHORT, f"{measure}, {who}", n) for who in LOUDER for n in range(settings.repetitions)]
        label = f"cross-validations of {measure} with another gain"
        found.append(collected(partial(_gain, data), jobs, workers, GAIN, label))
    return pd.concat(found, ignore_index=True)


def _of_gain(shared: tuple[Volumes, float], segment: Segment) -> Floats:
    """Mean of one region, and of a few its GLCM (gain, way, feature): both gains, as recorded and normalised."""
    source, other_db = shared
    volume, annotation = source.cohort.volume(segment), source.cohort.annotation(segment)
    found = []
    for gain_db in (0.0, other_db):
        changed = preprocess.change_gain(volume, gain_db, source.preprocessing)
        region = preprocess.region(changed, annotation, source.preprocessing)
        for voxels in (region.raw, region.voxels):
            grid = source.texture.resampled(voxels, volume.spacing_mm) if segment["few"] else None
            of_glcm = [np.nan] * len(glcm.PROPERTIES) if grid is None else _glcm(grid, source.texture)
            found.append([voxels.mean(), *of_glcm])
    return np.reshape(found, (2, len(GAIN), -1))


def _gain(data: Data, job: Job) -> Rows:
    louder = _louder(data.keys, job.case.split(", ")[1], data.rng(job))
    return _rows(data, job, GAIN, data.values[np.arange(len(louder)), louder.astype(int)])


def _rows(data: Data, job: Job, ways: tuple[str, str], values: Floats) -> Rows:
    """The AUC of both ways, of a logistic regression on the same folds; values (n, way, feature)."""
    folds, model, labels = data.folds(data.own, job), experiment.logistic_model(), data.labels
    scores, tested_in = np.empty(values.shape[:2]), np.empty(len(values), dtype=int)
    for fold in folds:
        tested_in[fold.test] = fold.number
        for n in range(len(ways)):
            scores[fold.test, n] = experiment.scores(model, values[:, n], labels, fold.train, fold.test)
    try:
        areas, covariance = roc.fold_mean(labels, scores, tested_in, data.own.patients)
    except InputError:  # too few patients of a class in a fold: there are areas, and no interval of their difference
        return job.rows(ways, [experiment.mean_auc(model, values[:, n], labels, folds) for n in range(len(ways))])
    return job.rows(ways, areas, se=float(np.sqrt([1, -1] @ covariance @ [1, -1])))


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
    return collected(partial(_shuffled, data), jobs, workers, PLACES, "cross-validations with shuffled voxels")


def _shuffled(data: Data, job: Job) -> Rows:
    return _rows(data, job, PLACES, data.values[..., FAMILIES[job.case]])


def _of_places(shared: tuple[Volumes, int], segment: Segment) -> Floats:
    """First-order, Nakagami and GLCM features of one region (way, feature): shuffled, and in place."""
    source, seed = shared
    volume = source.cohort.volume(segment)
    region = preprocess.region(volume, source.cohort.annotation(segment), source.preprocessing)
    grid = source.texture.resampled(region.voxels, volume.spacing_mm)
    rng = np.random.default_rng([seed, *str(segment["path"]).encode()])
    ways = ((shuffle(region.voxels, rng), shuffle(grid, rng)), (region.voxels, grid))
    return np.array([features(voxels, of_grid, region, source.texture) for voxels, of_grid in ways])


ALIKE = (
    "GLCM has an AUC of **{wrong:.2f}** with the voxels shuffled and {right:.2f} in place; shuffled minus in place is "
    "{difference:+.2f}{interval}. {so}"
)
NOT_MADE = "GLCM was not compared with its voxels shuffled. {note}"
PLACES_SPEAK = "So where a voxel lies says something that the grey levels alone do not."
GREY_SPEAKS = (
    "So nothing here shows that texture tells the classes apart: grey levels without places do as well, as far as "
    "these patients can tell."
)


def shuffled_in_words(table: pd.DataFrame) -> str:
    """Whether the GLCM says more than grey levels without their places, as a sentence.

    Parameters
    ----------
    table : of `shuffled`; the interval takes the SE of one cross-validation, the mean over repetitions
    """
    of_glcm = table[table["case"] == TEXTURE]
    row, reach = experiment.differences(of_glcm).iloc[0].to_dict(), 1.96 * of_glcm["se"].mean()
    if np.isnan(row["difference"]):
        return NOT_MADE.format(note=row["note"])
    low, high = row["difference"] - reach, row["difference"] + reach
    interval = "" if np.isnan(reach) else f" (95 % interval {low:+.2f} to {high:+.2f}, patients as clusters)"
    return ALIKE.format(**row, interval=interval, so=PLACES_SPEAK if high < 0 else GREY_SPEAKS)


def shuffle(voxels: NDArray[np.uint8], seed: int | np.random.Generator) -> NDArray[np.uint8]:
    """The same grey levels in other places, drawn by a seed or a generator."""
    return np.random.default_rng(seed).permutation(voxels.ravel()).reshape(voxels.shape)


def features(
    voxels: NDArray[np.uint8], grid: NDArray[np.uint8], region: preprocess.Region, texture: bank.TextureSettings
) -> Floats:
    """Five first-order statistics, Nakagami m and omega, six GLCM properties, in the order of `FAMILIES`.

    Parameters
    ----------
    voxels : of the region, in place or not
    grid : what the GLCM is made of: the region at the study's voxel size, in place or not
    region : where they come from, for the dynamic range
    texture : symmetry of the GLCM, input of Nakagami
    """
    fit = intensity.fit(voxels, region.dynamic_range_db, texture.nakagami_input)
    return np.array([*intensity.features(voxels), fit.m, fit.omega, *_glcm(grid, texture)])


def _glcm(voxels: NDArray[np.uint8], texture: bank.TextureSettings) -> pd.Series:
    return glcm.properties(glcm.matrix(voxels, OFFSET, LEVELS, symmetric=texture.symmetric))
