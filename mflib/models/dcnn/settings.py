"""What may be chosen about the network, and the released MedicalNet files that it may start from; all without torch.

Every file is pinned by repository, revision, name and SHA-256: the files on 8 and on 23 data sets fit the same network,
and a download that fails must not end in the other one without a word.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass as settings

from mflib.base.errors import RunError
from mflib.base.files import ASSETS, sha256
from mflib.base.language import tell
from mflib.base.settings import STRICT, Count, Distinct, Number, Seed, Whole

MODEL = "dcnn"
# What may be done otherwise, one at a time; ``comparisons`` says how.
Comparison = Literal["seed", "pretraining", "dilation", "split", "gain", "brightness", "patients"]
Depth = Literal[10, 18, 34, 50, "small"]
# Larger inputs and wider networks than any study's are a mistake, or meant to fill the memory.
Extent = Annotated[Whole, Field(ge=8, le=512)]
Millimetre = Annotated[Number, Field(gt=0, le=1000)]


@settings(frozen=True, config=STRICT)
class NetworkSettings:
    """Architecture, input and optimisation of the network; the defaults are the quick profile's.

    Learning rate, momentum and weight decay are MedicalNet's for its backbone. With ten times the rate the validation
    AUC is alike, but the validation loss swings from epoch to epoch.

    Parameters
    ----------
    depth, width, dilated : the architecture, see ``network.build``
    pretrained : start from released MedicalNet weights: "none", "if-present" on this machine, or "required" (from the
        Hugging Face hub where they are not present)
    weights : path of a weights file, or the name of a released one; empty for the 23-dataset file of ``depth``
    frozen : leave the backbone as released and fit only a logistic head on its features, see ``transfer``
    size : extent of the network's input in voxels, lateral x depth x elevation
    extent_mm : extent of the same in mm, in whose middle the region lies; null stretches each region to ``size``
    gain : "normalised" by the two reference points, or as "recorded"
    scale : "zscore" of each volume, which takes its mean brightness out, or one "fixed" scale for all
    epochs : passes over the training part; the weights of the last are kept
    batch : volumes per step
    learning_rate : of the backbone, at the start; it falls to zero over ``epochs`` along a cosine
    head_factor : times which it is the rate of the fully connected layer, which always starts from random weights
    momentum, weight_decay : of stochastic gradient descent; the decay is an L2 penalty
    flips : axes mirrored at random in training. Depth (1) is left out: the echo fades and shadows fall along it
    precision : "bfloat16" computes the steps so where rounding is harmless; one batch is held against float32 first
    seed : of the first weights, the order of the volumes and what is changed in them
    workers : folds trained at a time on CPUs, one thread each; with GPUs it is one on each
    """

    depth: Depth = "small"
    width: Annotated[Whole, Field(ge=1, le=1024)] | None = None
    dilated: bool = True
    pretrained: Literal["none", "if-present", "required"] = "none"
    weights: str = ""
    frozen: bool = False
    size: tuple[Extent, Extent, Extent] = (48, 48, 24)
    extent_mm: tuple[Millimetre, Millimetre, Millimetre] | None = (36.0, 36.0, 14.0)
    gain: Literal["normalised", "recorded"] = "normalised"
    scale: Literal["zscore", "fixed"] = "zscore"
    epochs: Count = 8
    batch: Count = 4
    learning_rate: Annotated[Number, Field(gt=0, le=1_000_000)] = 1e-3
    head_factor: Annotated[Number, Field(gt=0, le=1000)] = 1.0
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[Number, Field(ge=0, le=10)] = 1e-3
    flips: Distinct[Annotated[Whole, Field(ge=0, le=2)]] = (0, 2)
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: Seed = 20
    workers: Annotated[Whole, Field(ge=1, le=1000)] = 2

    def __post_init__(self) -> None:
        """Refuse what would fail, or do nothing, hours later."""
        if self.pretrained == "none" and self.weights:
            raise ValueError(f"weights: found {self.weights!r}, expected pretrained 'if-present' or 'required' with it")
        if self.pretrained != "none" and not self.weights and self.depth == "small":
            found = f"pretrained: found {self.pretrained!r} of depth 'small', which was never released"
            raise ValueError(f"{found}; expected weights")
        if self.frozen and self.pretrained != "required":
            found = f"frozen: found true with pretrained {self.pretrained!r}"
            raise ValueError(f"{found}, expected 'required': random features say little")


def check_device(settings: NetworkSettings) -> None:
    """Raise ``RunError`` where training in the settings' precision cannot be trusted on this machine."""
    if settings.precision == "float32" or settings.frozen:
        return
    import torch

    if not torch.cuda.is_available():
        raise RunError(f"training in {settings.precision} needs a GPU, found none; set precision: float32")


@dataclass(frozen=True)
class Release:
    """One released file on the Hugging Face hub: where, the commit that holds it, and the digest of its content."""

    repository: str
    revision: str
    sha256: str


@functools.cache
def releases() -> dict[str, Release]:
    """The released files by name, trained on 23 data sets and on 8.

    The paper names no file; those on 23 are MedicalNet's own recommendation. The one of depth 18 was first uploaded
    beside depth 10, in a commit that still holds it.
    """
    known = json.loads((ASSETS / "medicalnet.json").read_text(encoding="utf-8"))
    return {name: Release(**release) for name, release in known.items()}


HUB = "huggingface_hub"
NO_HUB = (
    "{name} comes from the Hugging Face hub, for which a package is missing here: pip install 'mflib[weights]'. Or "
    "fetch the file elsewhere and give its path (network.weights in the profile), or start from random weights "
    "(pretrained: none)"
)


def find_weights(settings: NetworkSettings) -> Path | None:
    """The file that the settings ask for; None where they ask for none, or where none is present and none is required.

    ``settings.weights`` is a path, or the name of a released file, which is looked for in the hub's cache on this
    machine and downloaded only where it is required. Both need the extra ``mflib[weights]``; without it none is
    present.

    Raises
    ------
    RunError
        Required and not to be had, or a released file whose SHA-256 is not the pinned one.
    """
    if settings.pretrained == "none":
        return None
    name = settings.weights or f"resnet_{settings.depth}_23dataset.pth"
    if name not in releases():
        path = Path(name)
        if not path.is_file() and settings.pretrained == "required":
            expected = f"a MedicalNet file there (network.weights in the profile), or one of {', '.join(releases())}"
            raise RunError(f"found no weights at {path}, expected {expected} to take it from the Hugging Face hub")
        return path if path.is_file() else None
    found = _cached(name) or (_download(name) if settings.pretrained == "required" else None)
    if found is not None and (digest := sha256(found)) != releases()[name].sha256:
        said = f"{found} has SHA-256 {digest}, expected {releases()[name].sha256}"
        raise RunError(f"{said}: it is damaged or not the released file; remove it")
    return found


def describe_weights(settings: NetworkSettings) -> str:
    """What the network starts from, in words."""
    found = find_weights(settings)
    if found is None:
        missing = "" if settings.pretrained == "none" else ": no pretrained ones are present on this machine"
        return f"random weights{missing}"
    geometry = "" if settings.dilated else ", in a strided network, which is not the one that they were trained in"
    frozen = ", frozen" if settings.frozen else ""
    return f"pretrained weights {found.name} (SHA-256 {sha256(found)[:12]}){frozen}{geometry}"


def weights_sha256(settings: NetworkSettings) -> str | None:
    """SHA-256 of the file that `find_weights` finds; None where it finds none."""
    found = find_weights(settings)
    return None if found is None else sha256(found)


def _cached(name: str) -> Path | None:
    if find_spec(HUB) is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    release = releases()[name]
    found = try_to_load_from_cache(release.repository, name, revision=release.revision)
    return Path(found) if isinstance(found, str) else None


def _download(name: str) -> Path:
    if find_spec(HUB) is None:
        raise RunError(NO_HUB.format(name=name))
    from huggingface_hub import hf_hub_download

    release = releases()[name]
    tell(f"downloading {name} from {release.repository} on the Hugging Face hub")
    try:
        return Path(hf_hub_download(release.repository, name, revision=release.revision))
    except Exception as error:  # of whichever HTTP library the hub's own is built on
        raise RunError(
            f"{name} is required and could not be downloaded from {release.repository} at revision "
            f"{release.revision[:7]} ({type(error).__name__}: {error}). Where this machine has no network, fetch the "
            "file elsewhere and give its path (network.weights in the profile); or start from random weights "
            "(pretrained: none)"
        ) from error
