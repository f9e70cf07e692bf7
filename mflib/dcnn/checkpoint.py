"""All that one epoch hands to the next, on disk whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mflib import atomic
from mflib.dcnn import compute
from mflib.dcnn.record import CHECKPOINT, Epoch


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


def weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's weights and running statistics on the CPU."""
    return {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}


def save(state: State, folder: Path, key: str) -> None:
    """Replace the checkpoint in ``folder``; raises ``OSError``, and leaves the old one, where the disk is full."""
    content = {
        "key": key,
        "network": state.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "schedule": state.schedule.state_dict(),
        "best": state.best,
        "history": state.history,
    }
    write(content, folder / CHECKPOINT)


def restore(state: State, folder: Path, key: str) -> None:
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


def write(content: Any, path: Path) -> None:
    """Write tensors in torch's format, whole or not at all.

    Raises
    ------
    OSError
        The disk has no room; what was at ``path`` is still there.
    """
    with atomic.replacing(path) as partial, partial.open("wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            # torch says that a position is unexpected where the disk is full; Python's own error is behind it.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise
