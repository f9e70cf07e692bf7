"""What may be chosen in the training of the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Depth = Literal[10, 18, 34, 50, "small"]
Pretrained = Literal["none", "if-present", "required"]
Gain = Literal["normalised", "recorded"]
Scale = Literal["zscore", "fixed"]
Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["cosine", "exponential", "constant"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Settings:
    """Architecture, input and optimisation of the network; the defaults are the quick profile's.

    Learning rate, momentum and weight decay are MedicalNet's for its backbone. With ten times the rate, or AdamW at the
    same, the validation AUC is alike but the validation loss swings from epoch to epoch.

    Parameters
    ----------
    depth, width, dilated : the architecture, see ``network.build``
    pretrained : start from released MedicalNet weights: "none", "if-present" on this machine, or "required" (from the
        Hugging Face hub where they are not present)
    weights : path of a weights file, or the name of a released one; empty for the 23-dataset file of ``depth``
    frozen : leave the backbone as released and fit only a logistic head on its features, see ``transfer``
    size : extent of the network's input in voxels, lateral x depth x elevation
    gain : "normalised" by the two reference points, or as "recorded"
    scale : "zscore" of each volume, which takes its mean brightness out, or one "fixed" scale for all
    epochs : at most so many passes over the training part
    batch : volumes per step
    optimizer : "sgd" or "adamw"
    learning_rate : of the backbone, at the start
    head_factor : times which it is the rate of the fully connected layer, which always starts from random weights
    momentum : of SGD; AdamW has its own
    weight_decay : L2 penalty of SGD, decoupled decay of AdamW
    schedule : "cosine" lets the learning rate fall to zero over ``epochs``, "exponential" by 1 % an epoch as
        MedicalNet's, "constant" keeps it
    class_weights : weight infiltrated segments by healthy over infiltrated ones of the training part
    patience : stop after so many epochs without a better validation AUC
    flips : axes mirrored at random in training. Depth (1) is left out: the echo fades and shadows fall along it
    intensity : each training volume is scaled by up to 1 +- this and shifted by up to +- this, in standard deviations
    precision : "bfloat16" computes the steps so where rounding is harmless; one batch is held against float32 first
    seed : of the first weights, the order of the volumes and what is changed in them
    workers : folds trained at a time on CPUs, one thread each; with GPUs it is one on each

    Raises
    ------
    ValueError
        A value that means nothing.
    """

    depth: Depth = "small"
    width: int | None = None
    dilated: bool = True
    pretrained: Pretrained = "none"
    weights: str = ""
    frozen: bool = False
    size: tuple[int, int, int] = (48, 48, 24)
    gain: Gain = "normalised"
    scale: Scale = "zscore"
    epochs: int = 8
    batch: int = 4
    optimizer: Optimizer = "sgd"
    learning_rate: float = 1e-3
    head_factor: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 1e-3
    schedule: Schedule = "cosine"
    class_weights: bool = False
    patience: int = 8
    flips: tuple[int, ...] = (0, 2)
    intensity: float = 0.0
    precision: Precision = "float32"
    seed: int = 20
    workers: int = 2

    def __post_init__(self) -> None:
        """Refuse what would fail, or do nothing, hours later."""
        choices = {
            "depth": Depth,
            "pretrained": Pretrained,
            "gain": Gain,
            "scale": Scale,
            "optimizer": Optimizer,
            "schedule": Schedule,
            "precision": Precision,
        }
        wrong = [
            f"{key} {getattr(self, key)!r}, expected one of {', '.join(map(repr, get_args(kind)))}"
            for key, kind in choices.items()
            if getattr(self, key) not in get_args(kind)
        ]
        wrong += [
            f"{key} {getattr(self, key)!r}, expected a positive number"
            for key in ("epochs", "batch", "learning_rate", "head_factor", "patience", "workers")
            if not getattr(self, key) > 0
        ]
        if len(self.size) != 3 or min(self.size) < 8:
            wrong.append(f"size {self.size}, expected three extents of at least 8 voxels")
        if not set(self.flips) <= {0, 1, 2}:
            wrong.append(f"flips {self.flips}, expected axes out of 0, 1, 2")
        if not 0 <= self.intensity < 1:
            wrong.append(f"intensity {self.intensity}, expected at least 0 and below 1")
        wrong += self._weights_that_mean_nothing()
        if wrong:
            raise ValueError("training settings: " + "; ".join(wrong))

    def _weights_that_mean_nothing(self) -> list[str]:
        wrong = []
        if self.pretrained == "none" and self.weights:
            wrong.append(f"weights {self.weights!r} with pretrained 'none', expected 'if-present' or 'required'")
        if self.pretrained != "none" and not self.weights and self.depth == "small":
            wrong.append(f"pretrained {self.pretrained!r} of depth 'small', which was never released; expected weights")
        if self.frozen and self.pretrained != "required":
            wrong.append(f"frozen with pretrained {self.pretrained!r}, expected 'required': random features say little")
        return wrong
