"""What may be chosen in the training of the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Depth = Literal[10, 18, 34, 50, "small"]
Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["cosine", "constant"]


@dataclass(frozen=True)
class Settings:
    """Architecture, input and optimisation of the network; the defaults are the quick profile's.

    Learning rate, momentum and weight decay are MedicalNet's for its backbone. With ten times the rate, or AdamW at the
    same, the validation AUC is alike but the validation loss swings from epoch to epoch.

    Parameters
    ----------
    depth, width, dilated : the architecture, see ``network.build``
    pretrained : path of released MedicalNet weights, "none" to start from random ones
    size : extent of the network's input in voxels, lateral x depth x elevation
    epochs : at most so many passes over the training part
    batch : volumes per step
    optimizer : "sgd" or "adamw"
    learning_rate : at the start
    momentum : of SGD; AdamW has its own
    weight_decay : L2 penalty of SGD, decoupled decay of AdamW
    schedule : "cosine" lets the learning rate fall to zero over ``epochs``, "constant" keeps it
    patience : stop after so many epochs without a better validation AUC
    flips : axes mirrored at random in training. Depth (1) is left out: the echo fades and shadows fall along it
    seed : of the first weights, the order of the volumes and the flips
    workers : folds trained at a time on a CPU, one thread each; on a GPU it is one

    Raises
    ------
    ValueError
        A value that means nothing.
    """

    depth: Depth = "small"
    width: int | None = None
    dilated: bool = True
    pretrained: str = "none"
    size: tuple[int, int, int] = (48, 48, 24)
    epochs: int = 8
    batch: int = 4
    optimizer: Optimizer = "sgd"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 1e-3
    schedule: Schedule = "cosine"
    patience: int = 8
    flips: tuple[int, ...] = (0, 2)
    seed: int = 20
    workers: int = 2

    def __post_init__(self) -> None:
        """Refuse what would fail, or do nothing, hours later."""
        choices = {"optimizer": get_args(Optimizer), "schedule": get_args(Schedule)}
        wrong = [
            f"{key} {getattr(self, key)!r}, expected one of {c}"
            for key, c in choices.items()
            if getattr(self, key) not in c
        ]
        wrong += [
            f"{key} {getattr(self, key)!r}, expected a positive number"
            for key in ("epochs", "batch", "learning_rate", "patience", "workers")
            if not getattr(self, key) > 0
        ]
        if len(self.size) != 3 or min(self.size) < 8:
            wrong.append(f"size {self.size}, expected three extents of at least 8 voxels")
        if not set(self.flips) <= {0, 1, 2}:
            wrong.append(f"flips {self.flips}, expected axes out of 0, 1, 2")
        if wrong:
            raise ValueError("training settings: " + "; ".join(wrong))
