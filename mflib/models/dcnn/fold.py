"""The training of one fold: arrays and labels in, weights and scores out, and nothing lost but the epoch in hand.

What an epoch draws (order of the volumes, flips, intensities) follows from the seed, the fold and the number of the
epoch alone, so a checkpoint holds no state of a generator, and a run that was killed goes on to bitwise the same
weights on a CPU.
"""

from __future__ import annotations

import json
from collections.abc import Callable
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
from mflib.models.dcnn.compute import NetworkSettings
from mflib.models.dcnn.inputs import (
    CHECKPOINT,
    RESULT,
    WEIGHTS,
    Epoch,
    FoldResult,
    Labels,
    Volumes,
    fold_key,
    read_result,
    scoring_batches,
    training_batches,
)
from mflib.models.dcnn.weights import find
from mflib.models.folds import Fold, Indices


@dataclass(eq=False)
class State:
    """A training in progress.

    Parameters
    ----------
    network, optimizer, schedule : as they stand after the last epoch
    best : weights of the best epoch so far, on the CPU
    history : one entry per epoch
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    best: dict[str, Tensor]
    history: list[Epoch]


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's weights and running statistics on the CPU."""
    return {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}


def save_checkpoint(state: State, folder: Path, key: str) -> None:
    """Replace the checkpoint in ``folder``; raises ``OSError``, and leaves the old one, where the disk is full."""
    content = {
        "key": key,
        "network": state.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "schedule": state.schedule.state_dict(),
        "best": state.best,
        "history": state.history,
    }
    write_tensors(content, folder / CHECKPOINT)


def restore_checkpoint(state: State, folder: Path, key: str) -> None:
    """Take ``state`` to the last whole epoch; it stays as it is where there is none of the same key."""
    path = folder / CHECKPOINT
    if not path.exists():
        return
    content: dict[str, Any] = torch.load(path, map_location=compute.device(), weights_only=True)
    if content["key"] != key:
        return
    state.network.load_state_dict(content["network"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.schedule.load_state_dict(content["schedule"])
    state.best = {name: value.cpu() for name, value in content["best"].items()}
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


def train_fold(
    inputs: Volumes,
    labels: Labels,
    fold: Fold,
    settings: NetworkSettings,
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
    key = fold_key(inputs, labels, fold, settings)
    result = read_result(folder, key)
    if result is not None:
        return result
    _check(labels, fold, settings)
    with locked(folder, PATIENCE):
        result = read_result(folder, key)  # whoever held the folder may have finished this very fold
        return result or _trained(inputs, labels, fold, settings, folder, report, key)


def _trained(
    inputs: Volumes, labels: Labels, fold: Fold, settings: NetworkSettings, folder: Path, report: Report, key: str
) -> FoldResult:
    for leftover in folder.glob("partial-*"):  # of a process that was killed while it wrote
        leftover.unlink()
    (folder / RESULT).unlink(missing_ok=True)  # of other data or settings: it must not stand beside new weights
    with compute.reproducible():
        state = _started(fold, settings)
        restore_checkpoint(state, folder, key)
        if settings.precision != "float32":
            rng = np.random.default_rng(_entropy(fold, settings, 1))
            volumes, truth = next(training_batches(inputs, labels, fold.train, rng, settings))
            compute.check_precision(state.network, volumes, truth, settings)
        while not _is_finished(state.history, settings):
            _train_epoch(state, inputs, labels, fold, settings)
            save_checkpoint(state, folder, key)
            report(state.history[-1])
        state.network.load_state_dict(state.best)
        validation = logits(state.network, inputs, fold.validation, settings).sigmoid()
        test = logits(state.network, inputs, fold.test, settings).sigmoid()
    result = FoldResult(validation.tolist(), test.tolist(), state.history, compute.described(settings))
    keep(result, state.best, folder, key)
    return result


def fold_name(fold: Fold) -> str:
    """How messages call a fold."""
    return f"fold {fold.number} of repeat {fold.repeat}"


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


def merit(epoch: Epoch) -> tuple[float, float]:
    """Better epochs are larger: validation AUC, and the loss between epochs of equal AUC."""
    return epoch["validation_auc"], -epoch["validation_loss"]


def keep(result: FoldResult, best: dict[str, Tensor], folder: Path, key: str) -> None:
    """Write weights first, then the record that says that all is there; then the checkpoint goes."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(best, folder / WEIGHTS)
    files.write_text(folder / RESULT, json.dumps({"key": key, **asdict(result)}, indent=1))
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _check(labels: Labels, fold: Fold, settings: NetworkSettings) -> None:
    for part, positions in (("training", fold.train), ("validation", fold.validation)):
        found = np.unique(labels[positions])
        if not np.array_equal(found, (0, 1)):
            raise RunError(f"{fold_name(fold)}: {part} labels are {found.tolist()}, expected both 0 and 1")
    if len(fold.train) < settings.batch:
        raise RunError(
            f"{fold_name(fold)}: {len(fold.train)} training volumes, expected at least one batch of {settings.batch}"
        )


def _started(fold: Fold, settings: NetworkSettings) -> State:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence(_entropy(fold, settings)).generate_state(1)[0]))
        model: nn.Module = network.build(settings.depth, settings.width, settings.dilated)
    path = find(settings)
    if path is not None:
        network.load_medicalnet(model, path)
    model = compute.placed(model, settings)
    optimizer = _optimizer(model, settings)
    return State(model, optimizer, _schedule(optimizer, settings), weights_of(model), [])


def _entropy(fold: Fold, settings: NetworkSettings, *more: int) -> list[int]:
    return [settings.seed, fold.repeat, fold.number, *more]


def _optimizer(model: nn.Module, settings: NetworkSettings) -> torch.optim.Optimizer:
    head = [p for name, p in model.named_parameters() if name.startswith("fc.")]
    rest = [p for name, p in model.named_parameters() if not name.startswith("fc.")]
    rate, decay = settings.learning_rate, settings.weight_decay
    groups: list[dict[str, Any]] = [{"params": rest}, {"params": head, "lr": rate * settings.head_factor}]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate, weight_decay=decay, fused=True)
    return torch.optim.SGD(groups, lr=rate, momentum=settings.momentum, weight_decay=decay, fused=True)


def _schedule(optimizer: torch.optim.Optimizer, settings: NetworkSettings) -> torch.optim.lr_scheduler.LRScheduler:
    if settings.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=settings.epochs)
    if settings.schedule == "exponential":
        return torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.99)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def _is_finished(history: list[Epoch], settings: NetworkSettings) -> bool:
    if not history:
        return False
    since_best = len(history) - max(history, key=merit)["epoch"]
    return len(history) >= settings.epochs or since_best >= settings.patience


def _train_epoch(state: State, inputs: Volumes, labels: Labels, fold: Fold, settings: NetworkSettings) -> None:
    """One pass over the training part, then the validation part scored; grows ``state.history`` by one."""
    rate = float(state.optimizer.param_groups[0]["lr"])
    weight = _weight(labels[fold.train], settings)  # on the device once, not in every step
    train_loss = _descend(state, inputs, labels, fold, settings, weight)
    state.schedule.step()
    scores = logits(state.network, inputs, fold.validation, settings)
    truth = labels[fold.validation]
    loss = _loss(scores, torch.from_numpy(truth.astype(np.float64)), weight.cpu().double()).item()
    number = len(state.history) + 1
    if not np.isfinite([train_loss, loss]).all():
        raise RunError(
            f"{fold_name(fold)}: loss {train_loss} in training and {loss} in validation at epoch {number}, expected "
            f"finite numbers; try a learning rate below {settings.learning_rate:g}"
        )
    # A second of imports, which neither the first step nor those who only score with a network need wait for.
    from sklearn.metrics import roc_auc_score

    state.history.append(
        Epoch(
            epoch=number,
            learning_rate=rate,
            train_loss=train_loss,
            validation_loss=loss,
            validation_auc=float(roc_auc_score(truth, scores.numpy())),
        )
    )
    if max(state.history, key=merit)["epoch"] == number:
        state.best = weights_of(state.network)


def _descend(
    state: State, inputs: Volumes, labels: Labels, fold: Fold, settings: NetworkSettings, weight: Tensor
) -> float:
    """Mean loss over the batches of one epoch."""
    rng = np.random.default_rng(_entropy(fold, settings, len(state.history) + 1))
    state.network.train()
    losses = []
    for volumes, truth in training_batches(inputs, labels, fold.train, rng, settings):
        loss = _loss(compute.forward(state.network, volumes, settings)[:, 0], truth, weight)
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        losses.append(loss.detach())  # asked for its number, the GPU would have to stop after every step
    return float(torch.stack(losses).double().mean())


def _weight(labels: Labels, settings: NetworkSettings) -> Tensor:
    """How much an infiltrated segment counts against a healthy one, on the device."""
    weight = (labels == 0).sum() / (labels == 1).sum() if settings.class_weights else 1.0
    return torch.tensor(weight, dtype=torch.float32, device=compute.device())


def _loss(scores: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(scores, truth, pos_weight=weight)
