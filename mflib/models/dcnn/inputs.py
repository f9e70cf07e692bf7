"""The network's inputs: prepared once, read one at a time, in batches whose order follows from the seed."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

import numpy as np
import torch
from joblib import Parallel, delayed
from numpy.typing import NDArray
from torch import Tensor

from mflib.base import files
from mflib.base.errors import InputError
from mflib.base.files import sha256
from mflib.base.made_by import digest
from mflib.base.progress import Progress
from mflib.base.words import KEY
from mflib.data import preprocess
from mflib.data import volume as volumes
from mflib.models.dcnn import compute, weights
from mflib.models.dcnn.compute import NetworkSettings
from mflib.models.folds import Fold, Indices

if TYPE_CHECKING:
    from mflib.data.cohort import Cohort

RESULT, WEIGHTS, CHECKPOINT = "fold.json", "weights.pt", "checkpoint.pt"
Labels = NDArray[np.integer]
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
    validation, test : scores in [0, 1] of the two parts, in the fold's order, with the best epoch's weights
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


def fold_key(inputs: Volumes, labels: Labels, fold: Fold, settings: NetworkSettings) -> str:
    """SHA-256 of all that decides a fold's weights and scores; labels of the test part do not."""
    parts = {part: getattr(fold, part).tolist() for part in ("train", "validation", "test")}
    start = weights.find(settings)
    total = hashlib.sha256()
    total.update(
        json.dumps(
            {
                "fold": [fold.repeat, fold.number, parts],
                "labels": labels[np.concatenate([fold.train, fold.validation])].tolist(),
                "settings": {name: value for name, value in asdict(settings).items() if name not in ELSEWHERE},
                "pretrained": "none" if start is None else sha256(start),
                "made_by": digest("mflib.models.dcnn.fold"),
            },
            sort_keys=True,
        ).encode()
    )
    for position in chain.from_iterable(parts.values()):
        total.update(np.ascontiguousarray(volume_of(inputs, position, settings)).data)
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
        voxels: NDArray[np.float32] = np.load(self.paths[position])
        return voxels


def prepare(
    cohort: Cohort, preprocessing: preprocess.GainSettings, settings: NetworkSettings, folder: Path, workers: int
) -> StoredVolumes:
    """Preprocess every analysed volume that is not in ``folder`` yet.

    A volume is made again when its file, its annotation, the settings or the code of the preprocessing change.

    Parameters
    ----------
    settings : their size, gain and scale
    folder : where the inputs are kept
    workers : processes

    Raises
    ------
    InputError
        A volume cannot be normalised; the message names it.
    """
    segments = cohort.segments.to_dict("records")
    paths = [folder / _file_name(cohort, segment, preprocessing, settings) for segment in segments]
    missing = [(segment, path) for segment, path in zip(segments, paths, strict=True) if not path.exists()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        progress = Progress("network inputs", len(missing))
        jobs = (delayed(_store)(cohort, segment, preprocessing, settings, path) for segment, path in missing)
        for _ in Parallel(n_jobs=workers, return_as="generator_unordered")(jobs):
            progress.advance()
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
    return preprocess.network_input(scaled, settings.size)


def _file_name(
    cohort: Cohort, segment: Mapping[str, Any], preprocessing: preprocess.GainSettings, settings: NetworkSettings
) -> str:
    source = cohort.root / segment["path"]
    files = [source, volumes.find_sidecar(source)]
    choices = (
        tuple(settings.size),
        settings.gain,
        settings.scale,
        digest(__name__),
    )
    made_from = [cohort.annotation(segment), preprocessing, *choices, *(sha256(f) for f in files if f.exists())]
    made = hashlib.sha256(repr(made_from).encode()).hexdigest()
    return "_".join([*(str(segment[key]) for key in KEY), made[:16]]) + ".npy"


def _store(
    cohort: Cohort,
    segment: Mapping[str, Any],
    preprocessing: preprocess.GainSettings,
    settings: NetworkSettings,
    path: Path,
) -> None:
    try:
        voxels = made(cohort, segment, preprocessing, settings)
    except InputError as error:
        raise InputError(f"{segment['path']}: {error}") from error
    files.write_array(path, voxels)


# Batches in waiting: reading one takes less time than a step, so a few are never used up.
AHEAD = 4


@dataclass(frozen=True)
class Change:
    """How one training volume is changed: the axes that are mirrored, and its new contrast and brightness."""

    axes: tuple[int, ...] = ()
    factor: float = 1.0
    shift: float = 0.0

    def __call__(self, voxels: NDArray[np.float32]) -> NDArray[np.float32]:
        """The changed volume."""
        mirrored = np.flip(voxels, self.axes)
        return mirrored if (self.factor, self.shift) == (1, 0) else mirrored * self.factor + self.shift


def training_batches(
    inputs: Volumes, labels: Labels, positions: Indices, rng: np.random.Generator, settings: NetworkSettings
) -> Iterator[tuple[Tensor, Tensor]]:
    """Whole batches of changed volumes (batch, ni, nj, nk) and their labels (batch,) float32, on the device.

    What is left over from whole batches waits for another epoch: batch normalisation of one volume fails on small maps.
    """
    order = rng.permutation(positions)
    whole = order[: len(order) // settings.batch * settings.batch].reshape(-1, settings.batch)
    drawn = ((batch, [_drawn(rng, settings) for _ in batch]) for batch in whole)
    for batch, voxels in zip(whole, _ahead(inputs, drawn, settings), strict=True):
        yield voxels, compute.sent(torch.from_numpy(labels[batch].astype(np.float32)))


def scoring_batches(inputs: Volumes, positions: Indices, settings: NetworkSettings) -> Iterator[Tensor]:
    """Batches of volumes (at most batch, ni, nj, nk) as they are, on the device, in the order of ``positions``."""
    starts = range(0, len(positions), settings.batch)
    parts = (positions[start : start + settings.batch] for start in starts)
    return _ahead(inputs, ((part, [Change()] * len(part)) for part in parts), settings)


def _drawn(rng: np.random.Generator, settings: NetworkSettings) -> Change:
    axes = tuple(axis for axis in settings.flips if rng.random() < 0.5)
    if not settings.intensity:
        return Change(axes)
    factor, shift = rng.uniform(-settings.intensity, settings.intensity, 2)
    return Change(axes, float(1 + factor), float(shift))


def _ahead(
    inputs: Volumes, batches: Iterable[tuple[Indices, list[Change]]], settings: NetworkSettings
) -> Iterator[Tensor]:
    """The batches in their order, some of them read ahead."""

    def read(batch: tuple[Indices, list[Change]]) -> Tensor:
        changed = [change(volume_of(inputs, int(n), settings)) for n, change in zip(*batch, strict=True)]
        stacked = torch.from_numpy(np.stack(changed))
        return stacked.pin_memory() if compute.device().type == "cuda" else stacked

    waiting: deque[Future[Tensor]] = deque()
    with ThreadPoolExecutor(AHEAD if compute.device().type == "cuda" else 1) as readers:
        for batch in batches:
            waiting.append(readers.submit(read, batch))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result().to(compute.device(), non_blocking=True)
        while waiting:
            yield waiting.popleft().result().to(compute.device(), non_blocking=True)
