"""What the network is trained on: inputs that are prepared once and read one at a time; tasks, and their results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from mflib.base import files, parallel
from mflib.base.errors import InputError, RunError
from mflib.base.files import sha256
from mflib.base.made_by import digest
from mflib.base.words import KEY
from mflib.data import preprocess
from mflib.data import volume as volumes
from mflib.models.dcnn.settings import NetworkSettings, weights_sha256
from mflib.models.folds import Fold, Labels

if TYPE_CHECKING:
    from mflib.data.cohort import Cohort

RESULT, WEIGHTS, CHECKPOINT = "fold.json", "weights.pt", "checkpoint.pt"
# Where the first weights lie and how they are called changes nothing, and their content has a digest of its own.
ELSEWHERE = ("workers", "pretrained", "weights")


class Volumes(Protocol):
    """The network's inputs by position: an array (n, ni, nj, nk), a memory map, or files read when needed."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> NDArray[np.float32]: ...


class Epoch(TypedDict):
    """One line of a training history; losses are mean binary cross-entropies."""

    epoch: int
    learning_rate: float
    train_loss: float
    validation_loss: float
    validation_auc: float


@dataclass(frozen=True)
class FoldResult:
    """What a finished fold holds besides its weights.

    Parameters
    ----------
    validation, test : scores in [0, 1] of the two parts, in the fold's order, with the weights that are kept
    history : one entry per epoch
    computed : device, precision and threads
    """

    validation: list[float]
    test: list[float]
    history: list[Epoch]
    computed: str


def volume_of(inputs: Volumes, position: int, settings: NetworkSettings) -> NDArray[np.float32]:
    """One input, looked at before it is used.

    Raises
    ------
    ValueError
        Another size than the settings say, or values that are not finite.
    """
    voxels = inputs[position]
    if voxels.shape != tuple(settings.size) or voxels.dtype != np.float32:
        found, expected = f"{voxels.dtype} {voxels.shape}", f"float32 {tuple(settings.size)} (settings.size)"
        raise ValueError(f"input {position} is {found}, expected {expected}")
    if not np.isfinite(voxels).all():
        raise ValueError(f"input {position} holds values that are not finite, expected z-scores")
    return voxels


@dataclass(frozen=True, eq=False)
class Task:
    """One fold to be trained.

    Parameters
    ----------
    inputs : n volumes (ni, nj, nk) float32 of ``settings.size``, read one at a time
    labels : (n,) 0 or 1; those of the test part are never looked at
    fold : positions in ``inputs``
    settings : of the network
    folder : holds this fold's ``checkpoint.pt``, and in the end ``weights.pt`` and ``fold.json``
    """

    inputs: Volumes
    labels: Labels
    fold: Fold
    settings: NetworkSettings
    folder: Path

    def key(self) -> str:
        """SHA-256 of all that decides the fold's weights and scores; labels of the test part do not."""
        fold, settings = self.fold, asdict(self.settings)
        parts = {part: getattr(fold, part).tolist() for part in ("train", "validation", "test")}
        made_from = {
            "fold": [fold.repeat, fold.number, parts],
            "labels": self.labels[np.concatenate([fold.train, fold.validation])].tolist(),
            "settings": {name: value for name, value in settings.items() if name not in ELSEWHERE},
            "pretrained": weights_sha256(self.settings),
            "made_by": digest("mflib.models.dcnn.fold"),
        }
        total = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode())
        for position in chain.from_iterable(parts.values()):
            total.update(np.ascontiguousarray(volume_of(self.inputs, position, self.settings)).data)
        return total.hexdigest()


def read_result(folder: Path, key: str) -> FoldResult | None:
    """The finished fold in ``folder``, None where there is none of this key."""
    path = folder / RESULT
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if content.pop("key") != key:
        return None
    return FoldResult(**content)


@dataclass(frozen=True)
class StoredVolumes:
    """Inputs on disk, one ``.npy`` per volume, in the order of the segments table."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int, /) -> NDArray[np.float32]:
        return np.load(self.paths[position])


@dataclass(frozen=True, eq=False)
class Source:
    """A cohort, how its volumes are preprocessed, and the folder that keeps what the network makes of them."""

    cohort: Cohort
    preprocessing: preprocess.GainSettings
    folder: Path

    @property
    def labels(self) -> Labels:
        """1 where a segment is infiltrated, in the order of the segments."""
        return self.cohort.segments["label"].to_numpy(dtype=np.int64)

    @property
    def patients(self) -> NDArray[np.object_]:
        """The patient of each segment."""
        return self.cohort.segments["participant_id"].to_numpy()


def prepare(source: Source, settings: NetworkSettings) -> StoredVolumes:
    """Preprocess every analysed volume that is not in ``source.folder / "inputs"`` yet.

    A volume is made again when its file, its annotation, the settings or the code of the preprocessing change.

    Parameters
    ----------
    settings : their size, gain and scale; workers are processes here

    Raises
    ------
    InputError
        A volume cannot be normalised; the message names it.
    RunError
        A volume, its sidecar or its annotation has changed since the call.
    """
    segments, folder = source.cohort.segments.to_dict("records"), source.folder / "inputs"
    paths = [folder / _file_name(source, segment, settings) for segment in segments]
    missing = [(segment, path) for segment, path in zip(segments, paths, strict=True) if not path.exists()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        parallel.in_order(_store, (source, settings), missing, "network inputs", workers=settings.workers)
    return StoredVolumes(tuple(paths))


def made(
    cohort: Cohort, segment: Mapping[str, Any], preprocessing: preprocess.GainSettings, settings: NetworkSettings
) -> NDArray[np.float32]:
    """The network's input from one row of the cohort's segments.

    Raises
    ------
    InputError
        It cannot be normalised.
    """
    region = preprocess.region(cohort.volume(segment), cohort.annotation(segment), preprocessing)
    return of_region(region, preprocessing, settings)


def of_region(
    region: preprocess.Region, preprocessing: preprocess.GainSettings, settings: NetworkSettings
) -> NDArray[np.float32]:
    """The network's input from a region of interest.

    Raises
    ------
    InputError
        All voxels are equal.
    """
    voxels = region.voxels if settings.gain == "normalised" else region.raw
    zscored = settings.scale == "zscore"
    scaled = preprocess.zscore(voxels) if zscored else preprocess.fixed_scale(voxels, preprocessing)
    return preprocess.network_input(scaled, settings.size, region.spacing_mm, settings.extent_mm)


def _file_name(source: Source, segment: Mapping[str, Any], settings: NetworkSettings) -> str:
    path = source.cohort.root / segment["path"]
    recorded = [sha256(file) for file in (path, volumes.find_sidecar(path)) if file.exists()]
    choices = (tuple(settings.size), settings.extent_mm, settings.gain, settings.scale, digest(__name__))
    made_from = [source.cohort.annotation(segment), source.preprocessing, *choices, *recorded]
    made = hashlib.sha256(repr(made_from).encode()).hexdigest()
    return "_".join([*(str(segment[key]) for key in KEY), made[:16]]) + ".npy"


def _store(shared: tuple[Source, NetworkSettings], missing: tuple[Mapping[str, Any], Path]) -> None:
    (source, settings), (segment, path) = shared, missing
    try:
        voxels = made(source.cohort, segment, source.preprocessing, settings)
    except InputError as error:
        raise InputError(f"{segment['path']}: {error}") from error
    # Under a name that was made of other content it would pass for that for ever.
    if _file_name(source, segment, settings) != path.name:
        raise RunError(f"{segment['path']}: changed while it was read; the same call goes on when it is as it shall be")
    files.write_array(path, voxels)
