"""What a run says of its stored models, looked at before any of it is believed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mflib.base.errors import FileError, InputError
from mflib.models import forest
from mflib.models.forest import OTHER_FEATURES
from mflib.models.texture import bank
from mflib.stats import performance
from mflib.study import kept as stored

# Several times a ResNet-50 in float32.
LARGEST_FILE = 2**30


def read_stored(artifacts: Path, name: str, sha256: str) -> bytes:
    """Content of a model file.

    Raises
    ------
    FileError
        The file is missing, too large or changed.
    """
    path = artifacts / name
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise FileError(f"{name}: found {size:,} bytes, expected at most {LARGEST_FILE:,}")
        content = path.read_bytes()
    except OSError as error:
        raise FileError(f"{name}: cannot be read ({error.strerror}), expected it beside its manifest") from error
    # Of the very bytes that are used, not of a file that may be another one by then.
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise FileError(f"{name}: found the SHA-256 {found}, expected {sha256}: the file is damaged or was exchanged")
    return content


# A manifest of 368 segments takes a tenth of it.
LARGEST = 8 * 2**20
# No feature comes near it, and its square is still a number.
LARGEST_VALUE = 1e30
GLCM = re.compile(r"glcm_(\d{1,3})_(\d{1,2})_-?[01]\.-?[01]\.-?[01]_[A-Za-z]+", re.ASCII)
FIELDS = {
    "made_with": dict, "versions": dict, "cohort": dict, "run": dict, "preprocessing": dict, "settings": dict,
    "folds": list, "predictions": dict,
}  # fmt: skip


@dataclass(frozen=True)
class StoredFold:
    """The model of one fold: file, SHA-256 of its content, threshold, and the features that a forest is asked with."""

    number: int
    file: str
    sha256: str
    threshold: float
    features: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Reference:
    """What the training segments looked like.

    Parameters
    ----------
    patients : (n,) of the segments
    texture : (n, features) of the segments, and their number of grey levels
    acquisition : (n, quantities), see `study.models.acquisition`; NaN where a sidecar does not say
    words : what the sidecars say of the machine
    voxels : by what the volumes are known again, see `study.models.voxels_digest`
    """

    patients: NDArray[np.object_]
    texture: pd.DataFrame
    acquisition: pd.DataFrame
    words: dict[str, list[str]]
    voxels: frozenset[str]


@dataclass(frozen=True, eq=False)
class Manifest:
    """One stored model.

    Parameters
    ----------
    model : its name in the predictions table
    cohort_name, synthetic : of the training cohort
    made_with, versions, run : mflib's version and commit; of packages; split, n_folds and seed
    preprocessing, settings : of the gain normalisation; of the texture or the network
    folds : in their order
    predictions : the run's own out-of-fold predictions
    reference : of a forest
    """

    model: str
    cohort_name: str
    synthetic: bool
    made_with: dict[str, str]
    versions: dict[str, str]
    run: dict[str, Any]
    preprocessing: dict[str, Any]
    settings: dict[str, Any]
    folds: tuple[StoredFold, ...]
    predictions: pd.DataFrame
    reference: Reference | None


def read(artifacts: Path, model: str) -> Manifest:
    """The manifest of one model of a run.

    Raises
    ------
    FileError
        There is none, it is not what this version writes, or other versions of mflib or its packages made the model.
    """
    name = stored.MANIFESTS[model]
    content = _content(artifacts / name)
    try:
        _check_version(content, model)
        return _checked(content, model)
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:  # what a value of another type leads to
        # It may repeat what somebody has written to move the cursor of a terminal.
        said = "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in str(error))
        raise FileError(f"{name}: {said}") from error


def _content(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST:
            raise FileError(f"{path.name}: found {path.stat().st_size:,} bytes, expected at most {LARGEST:,}")
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        found = f"found no {path.name} in {path.parent}"
        raise FileError(f"{found}, expected the folder of a run that mflib report has made") from None
    except (OSError, ValueError, RecursionError) as error:
        raise FileError(f"{path.name}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise FileError(f"{path.name}: found a {type(content).__name__}, expected a JSON object")
    return content


def _refuse(constant: str) -> None:
    raise ValueError(f"found {constant}, expected finite numbers")


def _check_version(content: Mapping[str, Any], model: str) -> None:
    """Refuse what another format, another mflib or other packages have made, and say what to do."""
    if content.get("format") != stored.FORMAT or content.get("model") != model:
        found = f"format {content.get('format')!r} of model {content.get('model')!r}"
        raise FileError(f"found {found}, expected format {stored.FORMAT} of {model}; make the report again")
    _check_kinds(content)
    made, here = content["versions"], stored.versions()
    other = [
        f"{name} {made.get(name)}, found {version} here"
        for name, version in here.items()
        if _series(made.get(name)) != _series(version)
    ]
    if other:
        again = "make the report again with this environment, or install requirements.lock of that commit"
        raise FileError(f"made with {'; '.join(other)} ({again}: {content['made_with'].get('commit')})")
    if content["made_with"].get("sources") != stored.sources(model):
        commit = content["made_with"].get("commit")
        found = f"made by another version of mflib (commit {commit}), which turns volumes into scores otherwise"
        raise FileError(f"{found}; make the report again, or predict with that commit")


def _series(version: object) -> list[str]:
    return str(version).split(".")[:2]


def _check_kinds(content: Mapping[str, Any]) -> None:
    for name, kind in FIELDS.items():
        if not isinstance(content.get(name), kind):
            found = type(content.get(name)).__name__
            raise FileError(f"found {name} of type {found}, expected {'an object' if kind is dict else 'a list'}")


def _checked(content: Mapping[str, Any], model: str) -> Manifest:
    folds = tuple(_fold(entry, model) for entry in content["folds"])
    if not folds:
        raise FileError("found no folds, expected one at least")
    cohort, is_forest = content["cohort"], model == forest.NAME
    return Manifest(
        model=model,
        cohort_name=str(cohort.get("name")),
        # Whatever is not plainly a cohort of people is called simulated.
        synthetic=cohort.get("synthetic") is not False,
        made_with={str(name): str(value) for name, value in content["made_with"].items()},
        versions={str(name): str(value) for name, value in content["versions"].items()},
        run=dict(content["run"]),
        preprocessing=dict(content["preprocessing"]),
        settings=dict(content["settings"]),
        folds=folds,
        predictions=_predictions(content["predictions"], model, str(content["run"].get("split"))),
        reference=_reference(content.get("reference"), folds) if is_forest else None,
    )


def _fold(entry: object, model: str) -> StoredFold:
    if not isinstance(entry, dict):
        raise FileError(f"found a fold of type {type(entry).__name__}, expected an object")
    number, file, digest, threshold = (entry.get(name) for name in ("fold", "file", "sha256", "threshold"))
    suffix = "safetensors" if model == forest.NAME else "pt"
    # A plain name beside the manifest and nothing else: no folder, no way up.
    if not isinstance(file, str) or not re.fullmatch(rf"{model}_fold-[0-9]{{1,4}}\.{suffix}", file):
        raise FileError(f"found the file {file!r}, expected a name like {model}_fold-1.{suffix}")
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise FileError(f"found the SHA-256 {digest!r} of {file}, expected 64 hexadecimal digits")
    if not isinstance(number, int) or not isinstance(threshold, int | float) or not np.isfinite(threshold):
        raise FileError(f"found fold {number!r} with threshold {threshold!r}, expected two numbers")
    features = entry.get("features", []) if model == forest.NAME else []
    wrong = [f for f in features if not (f in OTHER_FEATURES or (isinstance(f, str) and GLCM.fullmatch(f)))]
    if wrong or (model == forest.NAME and not features):
        raise FileError(f"fold {number}: found the features {features!r:.200}, expected names of texture features")
    return StoredFold(number, file, digest, float(threshold), tuple(features))


def _predictions(columns: Mapping[str, Any], model: str, split: str) -> pd.DataFrame:
    try:
        table = pd.DataFrame(columns).assign(model=model, split=split, repeat=0)
        return performance.validate(table)
    except (InputError, ValueError, TypeError) as error:
        raise FileError(f"predictions: {error}") from error


def _is_moderate(table: pd.DataFrame) -> bool:
    """Whether all values are finite and can be squared; False for what cannot be compared."""
    return bool((table.abs() < LARGEST_VALUE).to_numpy().all())


def _reference(content: object, folds: tuple[StoredFold, ...]) -> Reference:
    kinds = ("texture", "acquisition", "words")
    if not isinstance(content, dict) or not all(isinstance(content.get(kind), dict) for kind in kinds):
        raise FileError(f"found a reference of type {type(content).__name__}, expected objects {', '.join(kinds)}")
    try:
        texture, acquisition = (pd.DataFrame(content[kind], dtype=float) for kind in kinds[:2])
    except (ValueError, TypeError) as error:
        raise FileError(f"reference: {error}") from error
    needed = {name for fold in folds for name in fold.features} | {bank.GREY_LEVELS, *OTHER_FEATURES}
    missing = sorted(needed - set(texture))
    patients = np.array([str(patient) for patient in content.get("participant_id") or []], dtype=object)
    sizes = {len(texture), len(acquisition), len(patients)}
    if (
        missing
        or len(sizes) > 1
        or len(set(patients)) < 2
        or not all(map(_is_moderate, (texture, acquisition.fillna(0))))
    ):
        found = f"found {sorted(sizes)} segments without {', '.join(missing) or 'finite, moderate values'}"
        raise FileError(f"reference: {found}, expected every feature of each segment, of two patients at least")
    words = {str(name): [str(word) for word in found] for name, found in content["words"].items()}
    return Reference(patients, texture, acquisition, words, frozenset(map(str, content.get("voxels") or [])))
