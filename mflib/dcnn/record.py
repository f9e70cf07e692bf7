"""What a fold leaves on disk, and the key that says what it was made from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from mflib.dcnn import weights
from mflib.dcnn.settings import Settings
from mflib.dcnn.weights import sha256
from mflib.folds import Fold

RESULT, WEIGHTS, CHECKPOINT = "fold.json", "weights.pt", "checkpoint.pt"
SOURCES = ("batches.py", "checkpoint.py", "compute.py", "fold.py", "network.py", "record.py")

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


def volume(inputs: Volumes, position: int, settings: Settings) -> NDArray[np.float32]:
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


def fold_key(inputs: Volumes, labels: Labels, fold: Fold, settings: Settings) -> str:
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
                "sources": [sha256(Path(__file__).with_name(source)) for source in SOURCES],
                "versions": [version("torch"), version("monai"), version("numpy")],
            },
            sort_keys=True,
        ).encode()
    )
    for position in chain.from_iterable(parts.values()):
        total.update(np.ascontiguousarray(volume(inputs, position, settings)).data)
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
