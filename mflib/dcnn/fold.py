"""The training of one fold: arrays and labels in, weights and scores out, and nothing lost but the epoch in hand.

What an epoch draws (order of the volumes, flips) follows from the seed, the fold and the number of the epoch alone, so
a checkpoint holds no state of a generator, and a run that was killed goes on to bitwise the same weights on a CPU.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import convert_conv3d_weight_memory_format

from mflib import atomic
from mflib.dcnn import network
from mflib.dcnn.record import (
    CHECKPOINT,
    RESULT,
    WEIGHTS,
    Epoch,
    FoldResult,
    Volumes,
    fold_key,
    read_result,
    volume,
)
from mflib.dcnn.settings import Settings
from mflib.folds import Fold

Labels = NDArray[np.integer]
Report = Callable[[Epoch], None]


class TrainingError(RuntimeError):
    """A fold that cannot be trained or whose training broke off; the message names the fold."""


@dataclass(eq=False)
class _State:
    """All that one epoch hands to the next."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    best: dict[str, Tensor]
    history: list[Epoch]


def train_fold(
    inputs: Volumes,
    labels: Labels,
    fold: Fold,
    settings: Settings,
    folder: Path,
    report: Report = lambda epoch: None,
) -> FoldResult:
    """Train on ``fold.train``, choose the epoch on ``fold.validation``, score ``fold.test`` once.

    A finished fold is read, not trained again; a killed one goes on from its last epoch. Both hold only for the same
    data, settings, sources and versions.

    Parameters
    ----------
    inputs : n volumes (ni, nj, nk) float32 of ``settings.size``, read one at a time
    labels : (n,) 0 or 1; those of the test part are never looked at
    fold : positions in ``inputs``
    folder : holds this fold's ``checkpoint.pt``, and in the end ``weights.pt`` and ``fold.json``
    report : called after every epoch

    Raises
    ------
    TrainingError
        A part lacks a class, the training part is smaller than a batch, or the loss is no longer a number.
    ValueError
        A volume has another size or holds values that are not finite.
    """
    key = fold_key(inputs, labels, fold, settings)
    result = read_result(folder, key)
    if result is not None:
        return result
    _check(labels, fold, settings)
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob("partial-*"):  # of a process that was killed while it wrote
        leftover.unlink()
    (folder / RESULT).unlink(missing_ok=True)  # of other data or settings: it must not stand beside new weights
    with _reproducible():
        state = _restored(_started(fold, settings), folder, key)
        while not _is_finished(state.history, settings):
            _train_epoch(state, inputs, labels, fold, settings)
            _save(state, folder, key)
            report(state.history[-1])
        state.network.load_state_dict(state.best)
        validation = _logits(state.network, inputs, fold.validation, settings).sigmoid()
        test = _logits(state.network, inputs, fold.test, settings).sigmoid()
    result = FoldResult(validation.tolist(), test.tolist(), state.history)
    _finish(result, state.best, folder, key)
    return result


def name(fold: Fold) -> str:
    """How messages call a fold."""
    return f"fold {fold.number} of repeat {fold.repeat}"


def _check(labels: Labels, fold: Fold, settings: Settings) -> None:
    for part, positions in (("training", fold.train), ("validation", fold.validation)):
        found = np.unique(labels[positions])
        if not np.array_equal(found, (0, 1)):
            raise TrainingError(f"{name(fold)}: {part} labels are {found.tolist()}, expected both 0 and 1")
    if len(fold.train) < settings.batch:
        raise TrainingError(
            f"{name(fold)}: {len(fold.train)} training volumes, expected at least one batch of {settings.batch}"
        )


@contextmanager
def _reproducible() -> Iterator[None]:
    """One thread and repeatable algorithms: sums over two threads round otherwise than sums in one."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only, tuned = torch.is_deterministic_algorithms_warn_only_enabled(), torch.backends.cudnn.benchmark
    torch.set_num_threads(1)
    # On a GPU an operation without a repeatable form is worth a warning, not the end of the run.
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict, warn_only=warn_only)
        torch.backends.cudnn.benchmark = tuned


def _started(fold: Fold, settings: Settings) -> _State:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence(_entropy(fold, settings)).generate_state(1)[0]))
        model = network.build(settings.depth, settings.width, settings.dilated)
    if settings.pretrained != "none":
        network.load_medicalnet(model, Path(settings.pretrained))
    model = model.to(_device())
    if settings.dilated:  # they train about 1.6 times as fast so; strided ones gain little or lose
        convert_conv3d_weight_memory_format(model, torch.channels_last_3d)
    optimizer = _optimizer(model, settings)
    return _State(model, optimizer, _schedule(optimizer, settings), _weights(model), [])


def _entropy(fold: Fold, settings: Settings, *more: int) -> list[int]:
    return [settings.seed, fold.repeat, fold.number, *more]


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay, fused=True)
    return torch.optim.SGD(model.parameters(), lr=rate, momentum=settings.momentum, weight_decay=decay, fused=True)


def _schedule(optimizer: torch.optim.Optimizer, settings: Settings) -> torch.optim.lr_scheduler.LRScheduler:
    if settings.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=settings.epochs)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}


def merit(epoch: Epoch) -> tuple[float, float]:
    """Better epochs are larger: validation AUC, and the loss between epochs of equal AUC."""
    return epoch["validation_auc"], -epoch["validation_loss"]


def _is_finished(history: list[Epoch], settings: Settings) -> bool:
    if not history:
        return False
    since_best = len(history) - max(history, key=merit)["epoch"]
    return len(history) >= settings.epochs or since_best >= settings.patience


def _train_epoch(state: _State, inputs: Volumes, labels: Labels, fold: Fold, settings: Settings) -> None:
    """One pass over the training part, then the validation part scored; grows ``state.history`` by one."""
    rate = float(state.optimizer.param_groups[0]["lr"])
    train_loss = _descend(state, inputs, labels, fold, settings)
    state.schedule.step()
    logits = _logits(state.network, inputs, fold.validation, settings)
    truth = labels[fold.validation]
    loss = F.binary_cross_entropy_with_logits(logits, torch.from_numpy(truth.astype(np.float64))).item()
    number = len(state.history) + 1
    if not np.isfinite([train_loss, loss]).all():
        raise TrainingError(
            f"{name(fold)}: loss {train_loss} in training and {loss} in validation at epoch {number}, expected "
            f"finite numbers; try a learning rate below {settings.learning_rate:g}"
        )
    state.history.append(
        Epoch(
            epoch=number,
            learning_rate=rate,
            train_loss=train_loss,
            validation_loss=loss,
            validation_auc=float(roc_auc_score(truth, logits.numpy())),
        )
    )
    if max(state.history, key=merit)["epoch"] == number:
        state.best = _weights(state.network)


def _descend(state: _State, inputs: Volumes, labels: Labels, fold: Fold, settings: Settings) -> float:
    """Mean loss over the batches of one epoch.

    What is left over from whole batches waits for another epoch: batch normalisation of one volume fails on small maps.
    """
    rng = np.random.default_rng(_entropy(fold, settings, len(state.history) + 1))
    order = rng.permutation(fold.train)
    whole_batches = len(order) // settings.batch * settings.batch
    state.network.train()
    losses = []
    for positions in order[:whole_batches].reshape(-1, settings.batch):
        volumes = np.stack([_flipped(volume(inputs, p, settings), rng, settings) for p in positions])
        truth = torch.from_numpy(labels[positions].astype(np.float32)).to(_device())
        loss = F.binary_cross_entropy_with_logits(_forward(state.network, volumes), truth)
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses))


def _flipped(voxels: NDArray[np.float32], rng: np.random.Generator, settings: Settings) -> NDArray[np.float32]:
    return np.flip(voxels, tuple(axis for axis in settings.flips if rng.random() < 0.5))


def _forward(model: nn.Module, volumes: NDArray[np.float32]) -> Tensor:
    """Logits (n,) of volumes (n, ni, nj, nk)."""
    logits: Tensor = model(torch.from_numpy(volumes)[:, None].to(_device()))
    return logits[:, 0]


@torch.no_grad()
def _logits(model: nn.Module, inputs: Volumes, positions: NDArray[np.intp], settings: Settings) -> Tensor:
    """Logits (n,) float64 on the CPU, in the order of ``positions``."""
    model.eval()
    batches = [positions[start : start + settings.batch] for start in range(0, len(positions), settings.batch)]
    logits = [_forward(model, np.stack([volume(inputs, p, settings) for p in batch])) for batch in batches]
    return torch.cat(logits).double().cpu()


def _save(state: _State, folder: Path, key: str) -> None:
    content = {
        "key": key,
        "network": state.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "schedule": state.schedule.state_dict(),
        "best": state.best,
        "history": state.history,
    }
    with atomic.replacing(folder / CHECKPOINT) as partial:
        torch.save(content, partial)


def _restored(state: _State, folder: Path, key: str) -> _State:
    """The state of the last whole epoch, or ``state`` where there is none of the same data, settings and sources."""
    path = folder / CHECKPOINT
    if not path.exists():
        return state
    content: dict[str, Any] = torch.load(path, map_location=_device(), weights_only=True)
    if content["key"] != key:
        return state
    state.network.load_state_dict(content["network"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.schedule.load_state_dict(content["schedule"])
    state.best = {key: value.cpu() for key, value in content["best"].items()}
    state.history = content["history"]
    return state


def _finish(result: FoldResult, best: dict[str, Tensor], folder: Path, key: str) -> None:
    """Weights first, then the record that says that all is there, then the checkpoint goes."""
    with atomic.replacing(folder / WEIGHTS) as partial:
        torch.save(best, partial)
    atomic.write_text(folder / RESULT, json.dumps({"key": key, **asdict(result)}, indent=1))
    (folder / CHECKPOINT).unlink()
