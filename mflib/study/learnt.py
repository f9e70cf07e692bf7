"""What a run has learnt, as stored: its manifests, forests and networks, looked at before any of it is believed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field, GetPydanticSchema
from pydantic.dataclasses import dataclass as entry
from pydantic_core.core_schema import no_info_after_validator_function
from safetensors import SafetensorError
from safetensors.numpy import load
from torch import nn

from mflib.base import made_by
from mflib.base.encodings import read_json
from mflib.base.errors import FileError
from mflib.base.settings import STRICT, build
from mflib.data.preprocess import GainSettings
from mflib.models import forest
from mflib.models.dcnn import compute, network
from mflib.models.dcnn.settings import NetworkSettings
from mflib.models.forest import OTHER_FEATURES
from mflib.models.texture import bank
from mflib.stats import performance
from mflib.stats.performance.predictions import PROBABILITY
from mflib.stats.performance.probability import Frozen
from mflib.study import kept

Values = NDArray[np.float64]
Columns = dict[str, list[float | None]]
# Bytes: of a manifest, of which 368 segments take a tenth; of a model file, several times a ResNet-50 in float32; of
# what the arrays in it say of themselves, of which those of a ResNet-50 take a twentieth.
LARGEST_MANIFEST, LARGEST_FILE, LARGEST_HEADER = 8 * 2**20, 2**30, 2**20
# No feature comes near it, and its square is still a number.
LARGEST_VALUE = 1e30
GLCM = re.compile(r"glcm_(\d{1,3})_(\d{1,2})_-?[01]\.-?[01]\.-?[01]_[A-Za-z]+", re.ASCII)


@entry(frozen=True, config=STRICT, kw_only=True)
class StoredFold(Frozen):
    """The model of one fold: file, SHA-256 of its content, threshold and scale, and the features of a forest."""

    fold: int
    file: str
    sha256: str
    features: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is no digest, and features that nobody measures."""
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise ValueError(f"found the SHA-256 {self.sha256!r:.100}, expected 64 hexadecimal digits")
        if not all(name in OTHER_FEATURES or GLCM.fullmatch(name) for name in self.features):
            raise ValueError(f"found the features {self.features!r:.200}, expected names of texture features")
        if self.slope < 0:
            raise ValueError(f"found the slope {self.slope}, expected 0 or above: a higher score means fat")


# Columns in the manifest, a table here.
Table = Annotated[
    pd.DataFrame,
    GetPydanticSchema(lambda _, of: no_info_after_validator_function(partial(pd.DataFrame, dtype=float), of(Columns))),
]


@dataclass(frozen=True, eq=False)
class Reference:
    """What the training segments looked like.

    Parameters
    ----------
    patients : (n,) of the segments
    texture : (n, features) of the segments, and their number of grey levels
    acquisition : (n, quantities), see `kept.acquisition`; NaN where a sidecar does not say
    words : what the sidecars say of the machine
    voxels : by what the volumes are known again, see `kept.voxels_digest`
    """

    __pydantic_config__ = STRICT  # where it stands in a manifest; one that is made here is not looked at
    patients: Annotated[tuple[str, ...], Field(alias="participant_id")]
    texture: Table
    acquisition: Table
    words: dict[str, list[str]]
    voxels: frozenset[str]


@entry(frozen=True, config=STRICT)
class Trained:
    """The training cohort."""

    name: str
    synthetic: bool


@entry(frozen=True, config=STRICT)
class Manifest:
    """One stored model.

    Parameters
    ----------
    format, model : of the file; the model's name in the predictions table
    made_with, versions, run : mflib's version and commit; of packages; split, n_folds and seed
    cohort : the training cohort
    preprocessing, settings : of the gain normalisation; of the texture or the network
    folds : in their order
    predictions : columns of the run's own out-of-fold predictions; see `table`
    reference : of a forest
    """

    format: int
    model: str
    made_with: dict[str, str]
    versions: dict[str, str]
    cohort: Trained
    run: dict[str, str | int]
    preprocessing: GainSettings
    settings: dict[str, Any]
    folds: tuple[StoredFold, ...]
    predictions: dict[str, list[Any]]
    reference: Reference | None = None

    def __post_init__(self) -> None:
        """Refuse files elsewhere, and a forest that does not say what it is asked with."""
        is_forest = self.model == forest.NAME
        for one in self.folds:
            # A plain name beside the manifest and nothing else: no folder, no way up.
            if not re.fullmatch(rf"{self.model}_fold-[0-9]{{1,4}}\.safetensors", one.file):
                expected = f"a name like {self.model}_fold-1.safetensors"
                raise ValueError(f"found the file {one.file!r:.100}, expected {expected}")
        if not self.folds:
            raise ValueError("found no folds, expected one at least")
        if is_forest and not (self.reference and all(one.features for one in self.folds)):
            raise ValueError("found no reference or no features, expected both in the manifest of a forest")

    @property
    def table(self) -> pd.DataFrame:
        """The run's own predictions of this model; raises ``FileError`` where they are none."""
        split = {"model": self.model, "split": self.run.get("split"), "repeat": 0}
        try:
            table = performance.validate(pd.DataFrame(self.predictions).assign(**split))
        except (ValueError, TypeError) as error:
            raise FileError(f"predictions: {error}") from error
        # A model has probabilities in every row or in none.
        if PROBABILITY not in table or table[PROBABILITY].isna().any():
            raise FileError("predictions: found no probabilities, expected one in every row")
        return table


def read(artifacts: Path, model: str) -> Manifest:
    """The manifest of one model of a run.

    Raises
    ------
    FileError
        There is none, it is not what this version writes, or other versions of mflib or its packages made the model.
    """
    name = kept.MANIFESTS[model]
    try:
        content = _content(artifacts / name)
        if content.get("format") != kept.FORMAT or content.get("model") != model:
            found = f"format {content.get('format')!r:.50} of model {content.get('model')!r:.50}"
            raise FileError(f"found {found}, expected format {kept.FORMAT} of {model}; make the report again")
        manifest = build(Manifest, content, "a stored model")
        _check_made_with(manifest)
        # What follows from it is made here once, so that every fault of it names the file.
        _ = manifest.table
        if model == forest.NAME:
            _ = reference(manifest), texture_settings(manifest)
        else:
            network_settings(manifest)
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:  # what nobody has bounded leads to
        # It may repeat what somebody has written to move the cursor of a terminal, at any length.
        said = "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in str(error)[:2000])
        raise FileError(f"{name}: {said}") from error
    return manifest


def _content(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise FileError(f"found no such file in {path.parent}, expected the folder of a run that mflib report has made")
    if (size := path.stat().st_size) > LARGEST_MANIFEST:
        raise FileError(f"found {size:,} bytes, expected at most {LARGEST_MANIFEST:,}")
    return read_json(path)


def _check_made_with(manifest: Manifest) -> None:
    """Refuse what another mflib or other packages have made, and say what to do."""
    if manifest.made_with.get("sources") == made_by.digest(*kept.SOURCES[manifest.model]):
        return
    made, here = manifest.versions, made_by.versions(*kept.PACKAGES)
    other = [f"{name} {made.get(name)}, found {found} here" for name, found in here.items() if made.get(name) != found]
    found = f"made with {'; '.join(other) or 'another version of mflib'}, which turns volumes into scores otherwise"
    again = "make the report again with this environment, or predict with the code and requirements.lock of commit"
    raise FileError(f"{found}; {again} {manifest.made_with.get('commit')}")


def reference(manifest: Manifest) -> Reference:
    """What the training segments of a forest looked like.

    Raises
    ------
    FileError
        A feature is missing, or there are too few segments to hold anything against.
    """
    stored = manifest.reference
    assert stored is not None, "a forest's manifest has one"
    needed = {name for fold in manifest.folds for name in fold.features} | {bank.GREY_LEVELS, *OTHER_FEATURES}
    missing = sorted(needed - set(stored.texture))
    sizes = {len(stored.texture), len(stored.acquisition), len(stored.patients)}
    tables = (stored.texture, stored.acquisition.fillna(0))
    moderate = all((values.abs() < LARGEST_VALUE).all(axis=None) for values in tables)
    if missing or len(sizes) > 1 or len(set(stored.patients)) < 2 or not moderate:
        found = f"found {sorted(sizes)} segments without {', '.join(missing) or 'finite, moderate values'}"
        raise FileError(f"reference: {found}, expected every feature of each segment, of two patients at least")
    return stored


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


@dataclass(frozen=True, eq=False)
class Trees:
    """A forest of two classes; see `kept.arrays` for what the arrays hold.

    Parameters
    ----------
    feature, threshold, left, right, positive : (nodes,)
    starts : (trees + 1,)
    """

    feature: NDArray[np.int32]
    threshold: Values
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    positive: Values
    starts: NDArray[np.int32]

    def scores(self, values: Values) -> Values:
        """Mean over the trees of the share of label 1 in the leaf, to the last digit as scikit-learn's forest.

        Parameters
        ----------
        values : (n, features) finite

        Returns
        -------
        (n,)
        """
        narrow = values.astype(np.float32)  # as scikit-learn does before it compares
        first = self.starts[:-1, None]
        node = np.repeat(first, len(values), axis=1)
        row = np.arange(len(values))[None]
        while (inner := self.left[node] >= 0).any():
            goes_left = narrow[row, np.where(inner, self.feature[node], 0)] <= self.threshold[node]
            node = np.where(inner, first + np.where(goes_left, self.left[node], self.right[node]), node)
        # One tree after the other: another order of the sum has other last digits.
        return np.asarray(self.positive[node].cumsum(axis=0)[-1] / len(first))


def read_trees(name: str, content: bytes, features: int) -> Trees:
    """The forest in the bytes of a safetensors file.

    Parameters
    ----------
    name : of the file, for messages
    content : of the file; see `read_stored`
    features : how many numbers the forest is asked with

    Raises
    ------
    FileError
        The file holds anything but the six arrays of a forest, or a tree that leads nowhere.
    """
    trees = Trees(**_arrays(name, content, kept.ARRAYS))
    wrong = _fault(trees, features)
    if wrong:
        raise FileError(f"{name}: found {wrong}; not a forest that mflib has kept")
    return trees


def _arrays(name: str, content: bytes, kinds: Mapping[str, str]) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file, which has those of these names and types and nothing else."""
    size = int.from_bytes(content[:8], "little")
    if size > LARGEST_HEADER:
        raise FileError(f"{name}: found a header of {size:,} bytes, expected at most {LARGEST_HEADER:,}")
    try:
        # It refuses arrays that overlap, leave holes, or do not end where the file does.
        arrays = load(content)
    except (SafetensorError, KeyError) as error:  # KeyError: a type that numpy does not have
        raise FileError(f"{name}: cannot be read as arrays ({error})") from error
    found = {key: str(values.dtype) for key, values in arrays.items()}
    if found != kinds:
        more, less = sorted(found.items() - kinds.items()), sorted(kinds.items() - found.items())
        raise FileError(f"{name}: found the arrays {more!r:.200} in place of {less!r:.200}")
    return arrays


def _fault(trees: Trees, features: int) -> str:
    """What would lead out of the arrays, round in a circle, or to a score that is none; empty where nothing does."""
    # Wide enough for differences that cannot turn round.
    nodes, starts = trees.feature.size, trees.starts.astype(np.int64)
    if any(part.ndim != 1 for part in vars(trees).values()):
        return "arrays of more or fewer than one axis"
    if any(len(part) != nodes for part in (trees.threshold, trees.left, trees.right, trees.positive)):
        return "arrays of different lengths"
    if len(starts) < 2 or starts[0] != 0 or starts[-1] != nodes or (np.diff(starts) < 1).any():
        return "trees that do not follow each other"
    size = np.repeat(np.diff(starts), np.diff(starts))
    own = np.arange(nodes) - np.repeat(starts[:-1], np.diff(starts))
    leaf = (trees.left == -1) & (trees.right == -1)
    for child in (trees.left, trees.right):
        # A child stands behind its parent, so every way ends.
        if not (leaf | ((child > own) & (child < size))).all():
            return "a node whose child is outside its tree, or before it"
    if not (leaf | ((trees.feature >= 0) & (trees.feature < features))).all():
        return f"a node that asks for a feature outside 0 to {features - 1}"
    if not (np.isfinite(trees.threshold).all() and (trees.positive >= 0).all() and (trees.positive <= 1).all()):
        return "thresholds or shares that are no numbers from 0 to 1"
    return ""


def texture_settings(manifest: Manifest) -> bank.TextureSettings:
    """What of the run's texture the forests ask for: a few of many combinations, each with the same numbers."""
    names = [name for fold in manifest.folds for name in fold.features]
    found = [(int(match[1]), int(match[2])) for name in names if (match := GLCM.fullmatch(name))]
    grid = {"levels": sorted({levels for levels, _ in found}), "steps": sorted({step for _, step in found})}
    return build(bank.TextureSettings, manifest.settings | grid, "the stored texture")


def network_settings(manifest: Manifest) -> NetworkSettings:
    """The network's settings; one that would fill the memory is refused before its weights are even looked at."""
    # Batches of one, and no gradients that rounding could spoil: only precision and architecture matter here.
    return replace(build(NetworkSettings, manifest.settings, "the stored network"), batch=1)


def read_network(name: str, content: bytes, settings: NetworkSettings) -> nn.Module:
    """The network in the bytes of a file of tensors, in evaluation, on the device.

    Raises
    ------
    FileError
        The file holds anything but finite tensors, or those of another network.
    """
    model: nn.Module = network.build(settings.depth, settings.width, settings.dilated)
    kinds = {key: str(value.dtype).removeprefix("torch.") for key, value in model.state_dict().items()}
    state = {key: torch.tensor(values) for key, values in _arrays(name, content, kinds).items()}
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise FileError(f"{name}: not the weights of this network ({error})") from error
    if not all(bool(torch.isfinite(value).all()) for value in model.state_dict().values()):
        raise FileError(f"{name}: found weights that are not finite")
    return compute.placed(model.eval(), settings)
