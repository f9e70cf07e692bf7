"""The distance by brute force, the ranges by hand, and volumes that no model of these should be asked about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf

from mflib.data import preprocess
from mflib.data.volume import Volume
from mflib.study import applicability
from mflib.study.learnt import Reference
from mflib.study.predict import Models
from mflib.study.run import Study

NAMES = ["a", "b", "c", "constant"]


def reference(rng: np.random.Generator, patients: int = 8, segments: int = 6) -> Reference:
    """Correlated features, patients apart from each other."""
    who = np.repeat([f"sub-{n}" for n in range(patients)], segments).astype(object)
    values = rng.normal(size=(patients * segments, 3)) @ rng.normal(size=(3, 3)) + np.repeat(
        rng.normal(size=(patients, 3)), segments, axis=0
    )
    texture = pd.DataFrame(np.column_stack([values, np.full(len(who), 5.0)]), columns=NAMES).assign(grey_levels=200.0)
    acquisition = pd.DataFrame({"voxel (mm)": 0.2, "gain (%)": np.linspace(40, 60, len(who)), "unsaid": np.nan})
    return Reference(who, texture, acquisition, {}, frozenset())


def mahalanobis(training: NDArray[np.float64], point: NDArray[np.float64]) -> float:
    """From standardised values, with the inverse of Ledoit and Wolf's covariance."""
    mean, sd = training.mean(axis=0), training.std(axis=0)
    covariance = LedoitWolf().fit((training - mean) / sd).covariance_
    apart = (point - mean) / sd
    return float(np.sqrt(apart @ np.linalg.solve(covariance, apart)))


def test_distances_are_those_by_brute_force() -> None:
    rng = np.random.default_rng(1)
    training = reference(rng)
    known = applicability.seen(training)
    values = training.texture[NAMES[:3]].to_numpy()
    own = [
        mahalanobis(values[training.patients != patient], value)
        for patient, value in zip(training.patients, values, strict=True)
    ]
    np.testing.assert_allclose(known.own, own)

    point = pd.Series({"a": 0.3, "b": -0.2, "c": 1.0, "constant": 5.0, "grey_levels": 200.0})
    found = applicability.judge(known, point, {"voxel (mm)": 0.2}, ())
    assert found.distance == pytest.approx(mahalanobis(values, point[NAMES[:3]].to_numpy(float)))
    assert found.percentile == pytest.approx(100 * np.mean(np.array(own) < found.distance))


@pytest.mark.parametrize(
    ("changes", "verdict", "said"),
    [
        ({}, "inside", ""),
        ({"gain (%)": 61.9}, "inside", ""),
        ({"gain (%)": 62.1}, "at the edge", r"gain \(%\) is 62.1, in training 40 to 60"),
        ({"gain (%)": 80.1}, "outside", "gain"),
        ({"voxel (mm)": 0.21}, "at the edge", r"voxel \(mm\) is 0.21, in training 0.2 to 0.2"),
        ({"voxel (mm)": 0.4}, "outside", "voxel"),
        ({"unsaid": 7.0}, "inside", ""),
        ({"constant": 5.1}, "at the edge", "constant is 5.1"),
        ({"grey_levels": 30.0}, "outside", "grey_levels"),
        ({"a": 1e3}, "outside", "The texture lies"),
    ],
)
def test_a_value_beyond_its_range_is_named_and_far_beyond_decides(
    changes: dict[str, float], verdict: str, said: str
) -> None:
    training = reference(np.random.default_rng(1))
    point = {**training.texture.mean(), "voxel (mm)": 0.2, "gain (%)": 50.0, "unsaid": None} | changes
    texture = pd.Series({name: point[name] for name in training.texture})
    acquisition = {name: point[name] for name in training.acquisition}
    found = applicability.judge(applicability.seen(training), texture, acquisition, ())
    assert found.verdict == verdict
    assert bool(found.reasons) == (verdict != "inside")
    assert not said or any(pd.Series(found.reasons).str.contains(said))
    assert found.features.loc[found.features["outside"], "feature"].tolist() == (list(changes) if said else [])


def test_a_training_range_without_width_counts_as_a_tenth_of_its_value() -> None:
    training = reference(np.random.default_rng(1))
    found = applicability.judge(applicability.seen(training), training.texture.mean(), {"voxel (mm)": 0.21}, ())
    beyond = found.features.set_index("feature")["beyond"]
    assert beyond["voxel (mm)"] == pytest.approx(0.5)
    assert (beyond.drop("voxel (mm)") == 0).all()


def test_a_doubt_alone_is_the_edge() -> None:
    training = reference(np.random.default_rng(1))
    found = applicability.judge(applicability.seen(training), training.texture.mean(), {}, ("A doubt.",))
    assert (found.verdict, found.reasons) == ("at the edge", ("A doubt.",))


def test_the_distance_knows_no_units() -> None:
    training = reference(np.random.default_rng(2))
    factors = pd.Series({"a": 1e-6, "b": 1e3, "c": 1.0, "constant": 1.0, "grey_levels": 1.0})
    scaled = replace(training, texture=training.texture * factors)
    np.testing.assert_allclose(applicability.seen(scaled).own, applicability.seen(training).own)


def test_training_segments_are_inside_and_absurd_volumes_are_not(study: Study, models: Models) -> None:
    rng = np.random.default_rng(0)
    segments = study.cohort.segments.to_dict("records")
    verdicts = []
    for segment in segments[::4]:
        volume, annotation = study.cohort.volume(segment), study.cohort.annotation(segment)
        verdicts.append(models.assess(volume, annotation).applicability.verdict)
    assert "outside" not in verdicts

    noise = volume.voxels.copy()
    noise[annotation.roi] = rng.integers(0, 256, noise[annotation.roi].shape)
    absurd = {
        "noise": replace(volume, voxels=noise),
        "twice the spacing": replace(volume, spacing_mm=tuple(2 * step for step in volume.spacing_mm)),
        "gain that clips": preprocess.change_gain(volume, 25.0, preprocess.GainSettings()),
        "few grey levels": replace(volume, voxels=volume.voxels // 64 * 64),
    }
    said = {name: models.assess(wrong, annotation).applicability for name, wrong in absurd.items()}
    assert {name: one.verdict for name, one in said.items()} == dict.fromkeys(absurd, "outside")
    assert all(one.reasons for one in said.values())


def test_what_a_sidecar_leaves_out_is_a_doubt_and_an_unknown_machine_a_remark(study: Study, models: Models) -> None:
    segment = study.cohort.segments.to_dict("records")[0]
    volume, annotation = study.cohort.volume(segment), study.cohort.annotation(segment)
    silent = models.assess(Volume(volume.voxels, volume.spacing_mm), annotation)
    assert silent.applicability.verdict != "inside"
    assert any("does not state the dynamic range" in reason for reason in silent.applicability.reasons)

    words = {**models.seen.reference.words, "ProbeModel": ["L9-3"]}
    known = replace(models.seen, reference=replace(models.seen.reference, words=words))
    other = replace(models, seen=known)
    strange = Volume(volume.voxels, volume.spacing_mm, {**volume.sidecar, "ProbeModel": "C5\x1b[2J-1" + 99 * "x"})
    (notice,) = (notice for notice in other.assess(strange, annotation).notices if "ProbeModel" in notice)
    assert "in training 'L9-3'" in notice
    assert notice.isprintable()
    assert len(notice) < 120
