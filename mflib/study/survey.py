"""Where the networks of a run look: every segment by the one that had not seen it, and whether that is a finding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from mflib.base import words
from mflib.base.words import KEY
from mflib.data import phantom, preprocess
from mflib.models.dcnn import compute, saliency
from mflib.models.dcnn.fold import load_network
from mflib.models.dcnn.settings import NetworkSettings
from mflib.models.dcnn.training import NetworkResult
from mflib.show.figures.saliency import Case
from mflib.study.run import Study

# Segments that the checks look at: maps of a few voxels are noisy one by one, and their mean is not.
CHECKED = 12
# Occlusion takes hundreds of passes per segment: on a CPU at the paper's size that is hours.
OCCLUDED, LARGEST = 4, 64 * 64 * 32
# Below this, the networks of one study do not agree on where to look.
STABLE = 0.5
OTHERS, SHUFFLED, OCCLUSION = "other folds' networks", "network of shuffled labels", "occlusion"


@dataclass(frozen=True, eq=False)
class Checks:
    """Whether the maps come from what was learnt.

    Parameters
    ----------
    weights : randomised, volume, similarity, as ``saliency.weight_check``
    likeness : mean rank correlation with the original maps, by what the others are of
    note : what was left out
    """

    weights: pd.DataFrame
    likeness: dict[str, float]
    note: str = ""

    def __str__(self) -> str:
        """What the checks say, in words that follow from the numbers."""
        left = self.weights.groupby("randomised", sort=False)["similarity"].mean()
        forgotten, shuffled = left.iloc[-1], self.likeness[SHUFFLED]
        others = self.likeness[OTHERS]
        passed = others >= STABLE and max(forgotten, shuffled) < others / 2
        verdict = (
            "The maps come from what was learnt"
            if passed
            else "So the maps say little about where the network finds what it has learnt, whatever they look like"
        )
        return (
            f"The maps of the folds' networks have a mean rank correlation of **{others:.2f}** with each other. With "
            f"all weights forgotten **{forgotten:.2f}** is left of the likeness to the original maps; a network of "
            f"shuffled labels has **{shuffled:.2f}**. {verdict}. {self.note}".strip()
        )


@dataclass(frozen=True, eq=False)
class Survey:
    """Grad-CAM of every segment towards what its network called it; see `look`.

    Parameters
    ----------
    study, result : the run and its networks
    models : the folds' networks
    maps : by position in the segments, on the grid of the network's last map
    calls : KEY, fold, y_true, score, threshold, called; in the order of the segments
    """

    study: Study
    result: NetworkResult
    models: list[nn.Module]
    maps: list[saliency.Map]
    calls: pd.DataFrame

    def gallery(self) -> list[Case]:
        """The most confident call of each kind: right and wrong, infiltrated and healthy."""
        cases = []
        for truth, called in ((1, 1), (0, 0), (0, 1), (1, 0)):
            of_kind = self.calls[(self.calls["y_true"] == truth) & (self.calls["called"] == called)]
            if len(of_kind):
                best = (of_kind["score"] - of_kind["threshold"]).abs().idxmax()
                cases.append(self._case(int(best), truth, called))
        return cases

    def by_depth(self) -> tuple[NDArray[np.float64], float, dict[str, NDArray[np.float64]]]:
        """Share of the saliency by depth: of all segments, the region's mean extent in mm, and of each kind of call."""
        bins = self.study.profile.network.size[1]
        found = {n: _relative(self._on_region(n), bins) for n, coarse in enumerate(self.maps) if coarse.any()}
        kinds = {"called healthy": 0, "called infiltrated": 1}
        groups = {
            name: [m for position, m in found.items() if self.calls["called"].iloc[position] == called]
            for name, called in kinds.items()
        }
        extents_mm = [shape[1] * spacing[1] for shape, spacing in map(self._region, range(len(self.maps)))]
        profiles = {name: saliency.by_depth(maps) for name, maps in groups.items() if maps}
        return saliency.by_depth(found.values()), float(np.mean(extents_mm)), profiles

    def tissues(self) -> pd.DataFrame:
        """Tissue, share of the saliency and of the region (mean, percent); no rows where tissues are not known."""
        rows = []
        for position, segment in enumerate(self._segments):
            masks, map = phantom.tissues(self.study.cohort.root, segment), self._on_region(position)
            if masks is None or not map.any():
                continue
            roi = self.study.cohort.annotation(segment).roi
            inside = {name: np.ascontiguousarray(mask[roi]) for name, mask in masks.items()}
            rows += [(name, saliency.share(map, mask), mask.mean()) for name, mask in inside.items()]
        table = pd.DataFrame(rows, columns=["tissue", "saliency", "region"])
        return (100 * table.groupby("tissue", sort=False).mean()).reset_index()

    def located(self) -> str:
        """How much of the saliency lies in which tissue, as a sentence."""
        shares = [
            f"{row.tissue} holds {row.saliency:.0f} % of the saliency in {row.region:.0f} % of the region"
            for row in self.tissues().itertuples()
            if row.region >= 0.5
        ]
        return f"In the phantom, {', '.join(shares)}." if shares else "Which tissue is where is not known here."

    def checks(self) -> Checks:
        """Forget the weights, shuffle the labels, ask the other folds, hide parts of the volume."""
        fold, profile = self.study.folds[0], self.study.profile
        chosen = fold.test[np.linspace(0, len(fold.test) - 1, min(CHECKED, len(fold.test))).astype(int)]
        volumes = [self.result.inputs[int(position)] for position in chosen]
        small = torch.cuda.is_available() or np.prod(profile.network.size) <= LARGEST
        with compute.reproducible(torch.get_num_threads()), compute.rounding(profile.network):
            weights = saliency.weight_check(self.models[0], volumes, seed=profile.seed)
            shuffled = self.study.network_on_shuffled_labels(fold)
            pair = [self.models[0], _network(shuffled.folders[0], profile.network)]
            likeness = {
                OTHERS: float(saliency.stability(self.models, volumes)["similarity"].mean()),
                SHUFFLED: float(saliency.stability(pair, volumes)["similarity"].mean()),
            }
            if small:
                likeness[OCCLUSION] = self._occlusion(volumes[:OCCLUDED])
        return Checks(weights, likeness, "" if small else "Occlusion was left out: at this size it wants a GPU.")

    @cached_property
    def _segments(self) -> list[dict[str, Any]]:
        return self.study.cohort.segments.to_dict("records")

    def _region(self, position: int) -> tuple[saliency.Shape, preprocess.Millimetres]:
        """Extent of a segment's region in voxels, and of a voxel in mm."""
        segment, cohort = self._segments[position], self.study.cohort
        return cohort.annotation(segment).roi_size, cohort.spacing(segment)

    def _on_region(self, position: int) -> saliency.Map:
        return saliency.on_region(self.maps[position], self.study.profile.network, *self._region(position))

    def _occlusion(self, volumes: list[NDArray[np.float32]]) -> float:
        """Mean rank correlation of Grad-CAM with the fall of the logit when a cube is hidden."""
        model, size = self.models[0], self.study.profile.network.size
        found = []
        for volume in volumes:
            hidden = saliency.occlusion(model, volume, max(2, min(size) // 2))
            found.append(saliency.similarity(hidden, saliency.to_shape(saliency.grad_cam(model, volume), size, size)))
        return float(np.mean(found))

    def _case(self, position: int, truth: int, called: int) -> Case:
        segment, row = self._segments[position], self.calls.iloc[position]
        region = self.study.region(segment)
        right = "right" if truth == called else "WRONG"
        names = ("healthy", "infiltrated")
        label = (
            f"{words.segment(segment)}: {names[called]}, {right} "
            f"(score {row['score']:.2f}, threshold {row['threshold']:.2f}, grade {segment['grade']})"
        )
        return Case(label, region.voxels, self._on_region(position), region.spacing_mm)


def _relative(map: saliency.Map, bins: int) -> saliency.Map:
    """The map's positive sums over depth, at ``bins`` places from the top of the region to its end: (1, bins, 1)."""
    profile = np.maximum(map, 0).sum(axis=(0, 2))
    places = (np.arange(bins) + 0.5) * len(profile) / bins - 0.5
    return np.interp(places, np.arange(len(profile)), profile).astype(np.float32)[None, :, None]


def look(study: Study, result: NetworkResult) -> Survey:
    """Look at every segment once, with the network that had not seen it, towards what that network called it."""
    calls = study.cohort.segments[KEY].merge(result.predictions, on=KEY, validate="one_to_one")
    calls["called"] = (calls["score"] >= calls["threshold"]).astype(int)
    models = [_network(folder, study.profile.network) for folder in result.folders]
    networks = {fold.number: model for fold, model in zip(study.folds, models, strict=True)}
    with compute.reproducible(torch.get_num_threads()), compute.rounding(study.profile.network):
        maps = [
            saliency.grad_cam(networks[row.fold], result.inputs[position], row.called)
            for position, row in enumerate(calls.itertuples())
        ]
    return Survey(study, result, models, maps, calls)


def _network(folder: Path, settings: NetworkSettings) -> nn.Module:
    return compute.placed(load_network(folder, settings), settings)
