"""The training of one fold: a task in, weights and scores out, and nothing lost but the epoch in hand.

What an epoch draws (order of the volumes, flips) follows from the seed, the fold and the number of the epoch alone, so
a checkpoint holds no state of a generator, and a run that was killed goes on to bitwise the same weights on a CPU.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mflib.base import files
from mflib.base.errors import RunError
from mflib.base.files import locked
from mflib.models.dcnn import compute, network
from mflib.models.dcnn.compute import scoring_batches, training_batches
from mflib.models.dcnn.inputs import CHECKPOINT, RESULT, WEIGHTS, Epoch, FoldResult, Task, Volumes, read_result
from mflib.models.dcnn.settings import NetworkSettings, check_device
from mflib.models.folds import Indices


@dataclass(eq=False)
class State:
    """A training in progress.

    Parameters
    ----------
    network, optimizer, schedule : as they stand after the last epoch
    history : one entry per epoch
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    history: list[Epoch]


RESTORED = ("network", "optimizer", "schedule")  # what of a `State` has a state of its own


def save_checkpoint(state: State, folder: Path, key: str) -> None:
    """Replace the checkpoint in ``folder``; raises ``OSError``, and leaves the old one, where the disk is full."""
    parts = {name: getattr(state, name).state_dict() for name in RESTORED}
    write_tensors({"key": key, "history": state.history, **parts}, folder / CHECKPOINT)


def restore_checkpoint(state: State, folder: Path, key: str) -> None:
    """Take ``state`` to the last whole epoch; it stays as it is where there is none of the same key."""
    path = folder / CHECKPOINT
    if not path.exists():
        return
    content: dict[str, Any] = torch.load(path, map_location=compute.device(), weights_only=True)
    if content["key"] == key:
        for name in RESTORED:
            getattr(state, name).load_state_dict(content[name])
        state.history = content["history"]


def write_tensors(content: Any, path: Path) -> None:
    """Write tensors in torch's format, whole or not at all.

    Raises
    ------
    OSError
        The disk has no room; what was at ``path`` is still there.
    """
    with files.replacing(path) as partial, partial.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            # torch says that a position is unexpected where the disk is full; Python's own error is behind it.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


Report = Callable[[Epoch], None]
# Seconds in which a process that was killed is surely gone.
PATIENCE = 30.0


def train_fold(task: Task, report: Report = lambda epoch: None) -> FoldResult:
    """Train on ``fold.train`` for all epochs, then score ``fold.validation`` and ``fold.test`` with the last weights.

    No epoch is chosen. The rate falls to almost nothing, so the last epoch is the least noisy one, while the best one
    by the few patients of a validation part is often an early one, in which hardly anything was learnt yet; and
    patients who have chosen nothing are fresh for thresholds and calibration.

    A finished fold is read, not trained again; a killed one goes on from its last epoch. Both hold only for the same
    data, settings, sources and versions.

    Parameters
    ----------
    task : what to train, and in which folder
    report : called after every epoch

    Raises
    ------
    RunError
        A part lacks a class, the training part is smaller than a batch, or the loss is no longer a number.
    RunError
        bfloat16 was asked for and does not give the gradient of float32 on this machine.
    RunError, ValueError
        The pretrained weights cannot be had or are those of another network; a volume has another size or holds values
        that are not finite.
    BusyError
        Another process trains in the same folder.
    OSError
        The disk is full; the last whole epoch is kept.
    """
    key = task.key()
    result = read_result(task.folder, key)
    if result is not None:
        return result
    _check(task)
    with locked(task.folder, PATIENCE):
        # Whoever held the folder may have finished this very fold.
        return read_result(task.folder, key) or _trained(task, key, report)


def in_process(_: None, task: Task, tell: Report) -> None:
    """What a process for `parallel.outcomes` does: a fold, told epoch by epoch; its result lies in its folder."""
    train_fold(task, tell)


def _trained(task: Task, key: str, report: Report) -> FoldResult:
    fold, folder = task.fold, task.folder
    for leftover in folder.glob("partial-*"):  # of a process that was killed while it wrote
        leftover.unlink()
    (folder / RESULT).unlink(missing_ok=True)  # of other data or settings: it must not stand beside new weights
    with compute.reproducible():
        state = _started(task)
        restore_checkpoint(state, folder, key)
        if task.settings.precision != "float32":
            volumes, truth = next(_batches(task, 1))
            compute.compare_gradients(state.network, volumes, truth, task.settings)
        while len(state.history) < task.settings.epochs:
            _train_epoch(state, task)
            save_checkpoint(state, folder, key)
            report(state.history[-1])
        validation, test = (
            logits(state.network, task.inputs, part, task.settings).sigmoid().tolist()
            for part in (fold.validation, fold.test)
        )
    result = FoldResult(validation, test, state.history, compute.described(task.settings))
    keep(result, state.network.state_dict(), folder, key)
    return result


def load_network(folder: Path, settings: NetworkSettings) -> nn.Module:
    """The network of a finished fold with its kept weights, in evaluation, on the CPU."""
    model = network.build(settings.depth, settings.width, settings.dilated)
    model.load_state_dict(torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True))
    return model.eval()


@torch.no_grad()
def logits(model: nn.Module, inputs: Volumes, positions: Indices, settings: NetworkSettings) -> Tensor:
    """Logits (n,) float64 on the CPU, in the order of ``positions``."""
    model.eval()
    scored = [compute.forward(model, volumes, settings) for volumes in scoring_batches(inputs, positions, settings)]
    return torch.cat(scored)[:, 0].double().cpu()


def keep(result: FoldResult, weights: dict[str, Tensor], folder: Path, key: str) -> None:
    """Write weights first, then the record that says that all is there; then the checkpoint goes."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors({name: value.cpu() for name, value in weights.items()}, folder / WEIGHTS)
    files.write_text(folder / RESULT, json.dumps({"key": key, **asdict(result)}, indent=1))
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _check(task: Task) -> None:
    fold, batch = task.fold, task.settings.batch
    check_device(task.settings)
    for part, positions in (("training", fold.train), ("validation", fold.validation)):
        found = np.unique(task.labels[positions])
        if not np.array_equal(found, (0, 1)):
            raise RunError(f"{fold}: {part} labels are {found.tolist()}, expected both 0 and 1")
    if len(fold.train) < batch:
        raise RunError(f"{fold}: {len(fold.train)} training volumes, expected at least one batch of {batch}")


def _started(task: Task) -> State:
    settings = task.settings
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence(_entropy(task)).generate_state(1)[0]))
        model = compute.placed(network.started(settings), settings)
    head = [p for name, p in model.named_parameters() if name.startswith("fc.")]
    rest = [p for name, p in model.named_parameters() if not name.startswith("fc.")]
    rate = settings.learning_rate
    groups: list[dict[str, Any]] = [{"params": rest}, {"params": head, "lr": rate * settings.head_factor}]
    decay = settings.weight_decay
    optimizer = torch.optim.SGD(groups, lr=rate, momentum=settings.momentum, weight_decay=decay, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=settings.epochs)
    return State(model, optimizer, schedule, [])


def _entropy(task: Task, *more: int) -> list[int]:
    return [task.settings.seed, task.fold.repeat, task.fold.number, *more]


def _batches(task: Task, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The training batches of one epoch."""
    rng = np.random.default_rng(_entropy(task, epoch))
    return training_batches(task.inputs, task.labels, task.fold.train, rng, task.settings)


def _train_epoch(state: State, task: Task) -> None:
    """One pass over the training part, then the validation part scored; grows ``state.history`` by one."""
    fold, settings = task.fold, task.settings
    rate = float(state.optimizer.param_groups[0]["lr"])
    train_loss = _descend(state, task)
    state.schedule.step()
    scores = logits(state.network, task.inputs, fold.validation, settings)
    truth = task.labels[fold.validation]
    loss = F.binary_cross_entropy_with_logits(scores, torch.from_numpy(truth.astype(np.float64))).item()
    number = len(state.history) + 1
    if not np.isfinite([train_loss, loss]).all():
        found = f"{fold}: loss {train_loss} in training and {loss} in validation at epoch {number}"
        raise RunError(f"{found}, expected finite numbers; try a learning rate below {settings.learning_rate:g}")
    # A second of imports, which neither the first step nor those who only score with a network need wait for.
    from sklearn.metrics import roc_auc_score

    auc = float(roc_auc_score(truth, scores.numpy()))
    state.history.append(
        Epoch(epoch=number, learning_rate=rate, train_loss=train_loss, validation_loss=loss, validation_auc=auc)
    )


def _descend(state: State, task: Task) -> float:
    """Mean loss over the batches of one epoch."""
    state.network.train()
    losses = []
    for volumes, truth in _batches(task, len(state.history) + 1):
        loss = F.binary_cross_entropy_with_logits(compute.forward(state.network, volumes, task.settings)[:, 0], truth)
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        losses.append(loss.detach())  # asked for its number, the GPU would have to stop after every step
    return float(torch.stack(losses).double().mean())
