"""The trained models of a run on disk: plain arrays, and a manifest that says what they are and what they have seen.

Nothing here needs a pickle to be read again: forests and networks go into safetensors files as arrays of numbers. The
manifest is written last: where it stands, the files that it names are whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import save
from sklearn.ensemble import RandomForestClassifier

from mflib.base import files, made_by
from mflib.base.progress import counted
from mflib.base.words import AXES, KEY
from mflib.data import preprocess
from mflib.data.cohort import Cohort
from mflib.data.volume import Annotation, Volume
from mflib.models import forest
from mflib.models.dcnn.inputs import WEIGHTS
from mflib.models.dcnn.settings import MODEL
from mflib.models.forest import OTHER_FEATURES
from mflib.models.texture import bank
from mflib.stats.performance.probability import Frozen
from mflib.study.profile import Profile

if TYPE_CHECKING:
    from mflib.models.dcnn.training import NetworkResult

FORMAT = 4
MANIFESTS = {forest.NAME: "model_random_forest.json", MODEL: "model_dcnn.json"}
# The arrays of a forest, each of one axis, and their types; see `arrays`.
WHOLE, REAL = "int32", "float64"
ARRAYS = {"feature": WHOLE, "threshold": REAL, "left": WHOLE, "right": WHOLE, "positive": REAL, "starts": WHOLE}
# A score follows from these sources and packages, which a manifest states.
NETWORK = tuple(f"mflib.models.dcnn.{name}" for name in ("inputs", "compute", "network"))
SOURCES = {forest.NAME: (bank.__name__,), MODEL: NETWORK}
PACKAGES = ("numpy", "scipy", "scikit-image", "scikit-learn", "numba", "torch", "SimpleITK")
# What sidecars say of the machine, in words and in numbers.
WORDS = ("Manufacturer", "ManufacturersModelName", "ProbeModel")
NUMBERS = {"depth (mm)": "DepthMM", "gain (%)": "GainPercent"}
DIGITS = 6
STATED_RANGE = "dynamic range (dB)"


def keep_forest(
    result: forest.ForestResult, texture: pd.DataFrame, cohort: Cohort, profile: Profile, folder: Path
) -> None:
    """Keep the forests of the first repeat, ``random_forest_fold-{n}.safetensors``, and their manifest.

    Parameters
    ----------
    result : of the run; its models are the first repeat's
    texture : (n, ...) the texture table in the order of the segments
    cohort, profile : of the run
    folder : the run's artifacts

    Raises
    ------
    InputError, FileError
        A volume that cannot be normalised or read.
    """
    (folder / MANIFESTS[forest.NAME]).unlink(missing_ok=True)
    folds = []
    for fitted in result.models:
        kept = _fold(folder, forest.NAME, fitted.fold, arrays(fitted.model), fitted.frozen)
        folds.append(kept | {"features": list(fitted.features)})
    used = dict.fromkeys([name for fold in folds for name in fold["features"]])
    seen = texture[[*dict.fromkeys([*used, *OTHER_FEATURES]), bank.GREY_LEVELS]]
    reference: dict[str, Any] = {"participant_id": texture["participant_id"].tolist()}
    reference["texture"] = {str(name): _rounded(values) for name, values in seen.items()}
    reference |= _recordings(cohort, profile.preprocessing)
    settings = asdict(profile.texture.for_cohort(cohort))
    _write(folder, result, cohort, profile, model=forest.NAME, folds=folds, settings=settings, reference=reference)


def keep_network(result: NetworkResult, cohort: Cohort, profile: Profile, folder: Path) -> None:
    """Keep the network of every fold, ``dcnn_fold-{n}.safetensors``, trained or frozen, and their manifest."""
    import torch

    (folder / MANIFESTS[MODEL]).unlink(missing_ok=True)
    folds = []
    for trained, number, frozen in zip(result.folders, result.made["fold"], result.frozen, strict=True):
        state = torch.load(trained / WEIGHTS, map_location="cpu", weights_only=True)
        weights = {name: value.contiguous().numpy() for name, value in state.items()}
        folds.append(_fold(folder, MODEL, int(number), weights, frozen))
    settings = {name: value for name, value in asdict(profile.network).items() if name != "weights"}
    settings |= {"pretrained": "none", "frozen": False}
    _write(folder, result, cohort, profile, model=MODEL, folds=folds, settings=settings)


def arrays(model: RandomForestClassifier) -> dict[str, NDArray[Any]]:
    """A fitted forest of two classes as numbers.

    Returns
    -------
    dict
        By node, one tree after the other: ``feature`` and ``threshold`` (a value at most as large goes left), ``left``
        and ``right`` (nodes of the same tree, counted from its first; -1 in a leaf), ``positive`` (share of label 1).
        ``starts`` is the first node of each tree, and the number of nodes.
    """
    trees = [one.tree_ for one in model.estimators_]
    starts = np.cumsum([0, *(tree.node_count for tree in trees)])
    return {
        "feature": np.concatenate([tree.feature for tree in trees]).astype(np.int32),
        "threshold": np.concatenate([tree.threshold for tree in trees]).astype(np.float64),
        "left": np.concatenate([tree.children_left for tree in trees]).astype(np.int32),
        "right": np.concatenate([tree.children_right for tree in trees]).astype(np.int32),
        "positive": np.concatenate([tree.value[:, 0, 1] for tree in trees]).astype(np.float64),
        "starts": starts.astype(np.int32),
    }


def acquisition(volume: Volume, annotation: Annotation, region: preprocess.Region) -> dict[str, float | None]:
    """How a volume was recorded, in numbers; None where its sidecar does not say."""
    found: dict[str, float | None] = {}
    for axis, spacing, voxels in zip(AXES, volume.spacing_mm, annotation.roi_size, strict=True):
        found |= {f"voxel, {axis} (mm)": spacing, f"region, {axis} (mm)": spacing * voxels}
    found |= {"bone (grey level)": region.references.bone, "shadow (grey level)": region.references.shadow}
    found[STATED_RANGE] = volume.dynamic_range_db
    return found | {name: volume.stated(field) for name, field in NUMBERS.items()}


def voxels_digest(volume: Volume) -> str:
    """By what a volume is known again, whatever its file is called: the start of the SHA-256 of its voxels."""
    return hashlib.sha256(volume.voxels.tobytes()).hexdigest()[:16]


def _write(
    folder: Path, result: forest.ForestResult | NetworkResult, cohort: Cohort, profile: Profile, model: str, **own: Any
) -> None:
    """Write a manifest: what those of both models hold, and what is the model's own."""
    first = result.predictions[result.predictions["repeat"] == 0]
    sources = made_by.digest(*SOURCES[model])
    content = {
        "format": FORMAT,
        "model": model,
        "made_with": {"mflib": version("mflib"), "commit": made_by.commit(), "sources": sources},
        "versions": made_by.versions(*PACKAGES),
        "cohort": {"name": cohort.name, "synthetic": cohort.synthetic},
        "run": {"split": profile.split, "n_folds": profile.n_folds, "seed": profile.seed},
        "preprocessing": asdict(profile.preprocessing),
        "predictions": first[[*KEY, "fold", "y_true", "score", "threshold", "probability"]].to_dict("list"),
    }
    files.write_text(folder / MANIFESTS[model], json.dumps(content | own, allow_nan=False) + "\n")


def _recordings(cohort: Cohort, settings: preprocess.GainSettings) -> dict[str, Any]:
    """How the training volumes were recorded, the words of their sidecars, and by what they are known again."""
    segments = cohort.segments.to_dict("records")
    # Threads are enough: reading and decompressing happen outside the interpreter.
    with ThreadPoolExecutor(joblib.cpu_count()) as pool:
        looked = list(counted("recordings", len(segments), pool.map(partial(_recording, cohort, settings), segments)))
    numbers, words, voxels = zip(*looked, strict=True)
    return {
        "acquisition": {str(name): _rounded(column) for name, column in pd.DataFrame(numbers, dtype=float).items()},
        "words": {name: sorted({said[name] for said in words if name in said}) for name in WORDS},
        "voxels": list(voxels),
    }


def _recording(
    cohort: Cohort, settings: preprocess.GainSettings, segment: Mapping[str, Any]
) -> tuple[dict[str, float | None], dict[str, str], str]:
    volume, annotation = cohort.volume(segment), cohort.annotation(segment)
    found = acquisition(volume, annotation, preprocess.region(volume, annotation, settings))
    words = {name: str(volume.sidecar[name]) for name in WORDS if name in volume.sidecar}
    return found, words, voxels_digest(volume)


def _fold(folder: Path, model: str, number: int, numbers: Mapping[str, NDArray[Any]], frozen: Frozen) -> dict[str, Any]:
    """Write the model of a fold; what the manifest says of it."""
    path = folder / f"{model}_fold-{number}.safetensors"
    with files.replacing(path) as partial:
        partial.write_bytes(save(dict(numbers)))
    return {"fold": number, "file": path.name, "sha256": files.sha256(path), **asdict(frozen)}


def _rounded(values: pd.Series) -> list[float | None]:
    """To six digits, which is more than a range of values needs; None for what is missing."""
    return [None if np.isnan(value) else float(f"{value:.{DIGITS}g}") for value in values.to_numpy(float)]
