"""A second cohort is measured and scored; nothing that is stored changes, and no segment's score knows the others."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mflib.base import parallel
from mflib.base.errors import FileError
from mflib.base.words import KEY
from mflib.data import cohort as cohorts
from mflib.data.cohort import Cohort
from mflib.data.volume import find_sidecar, read, write
from mflib.stats import performance
from mflib.study import external
from mflib.study.external import External
from mflib.study.predict import Models
from mflib.study.run import Study
from tests.conftest import write_cohort


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Two patients that the models have not seen: the recordings of others, and a little noise."""
    root = tmp_path_factory.mktemp("external") / "cohort"
    write_cohort(root, 2, ".nii.gz", 4)
    rng = np.random.default_rng(8)
    for path in root.glob("sub-*/us/*.nii.gz"):
        volume = read(path)
        write(replace(volume, voxels=volume.voxels + rng.integers(0, 2, volume.voxels.shape, dtype=np.uint8)), path)
    return cohorts.load(root)


@pytest.fixture(scope="module")
def found(models: Models, other: Cohort) -> External:
    return external.score_cohort(models, other, workers=1)


def stored(models: Models) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (models.run / "artifacts").glob("*.*")}


def test_nothing_that_is_stored_changes(models: Models, other: Cohort) -> None:
    before = stored(models)
    external.score_cohort(models, other, workers=1)
    assert stored(models) == before


def test_many_segments_are_handed_to_others_who_read_the_models_themselves(
    models: Models, other: Cohort, found: External, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external, "FEW", 7)
    outcomes, handed = parallel.outcomes, []

    def here(function: Any, shared: Any, items: Any, **how: Any) -> Any:
        handed.append((shared, len(items), how["workers"]))
        return outcomes(function, shared, items, workers=1)

    monkeypatch.setattr(parallel, "outcomes", here)
    again = external.score_cohort(models, other, workers=2)
    assert handed == [(models.run, 8, 2)]
    pd.testing.assert_frame_equal(again.predictions, found.predictions)


def test_every_segment_gets_what_assess_says_of_it(models: Models, other: Cohort, found: External) -> None:
    table = performance.validate(found.predictions)
    assert set(table["model"]) == {"random_forest", "dcnn"}
    assert (table["split"] == "patient").all()
    assert len(table) == 16
    assert found.failures.empty
    for segment in other.segments.to_dict("records"):
        alone = models.assess(other.volume(segment), other.annotation(segment))
        key = {name: segment[name] for name in KEY}
        rows = table[(table[KEY] == pd.Series(key)).all(axis=1)].set_index("model")
        said = found.probabilities[(found.probabilities[KEY] == pd.Series(key)).all(axis=1)].set_index("model")
        for name, result in alone.results.items():
            assert rows.loc[name, "score"] == result.score
            assert rows.loc[name, "threshold"] == result.threshold
            assert rows.loc[name, "y_true"] == segment["label"]
            expected = np.nan if result.probability is None else result.probability
            np.testing.assert_equal(said.loc[name, "probability"], expected)
        (row,) = found.applicability[(found.applicability[KEY] == pd.Series(key)).all(axis=1)].itertuples()
        assert (row.verdict, row.distance) == (alone.applicability.verdict, alone.applicability.distance)


def test_scores_do_not_depend_on_the_other_segments_or_on_labels(
    models: Models, other: Cohort, found: External
) -> None:
    few = other.segments.iloc[3:5].reset_index(drop=True)
    part = external.score_cohort(models, replace(other, segments=few.assign(label=1 - few["label"])), workers=1)
    both = part.predictions.merge(found.predictions, on=[*KEY, "model"], suffixes=("", "_all"))
    assert len(both) == 4
    np.testing.assert_array_equal(both["score"], both["score_all"])
    np.testing.assert_array_equal(both["y_true"], 1 - both["y_true_all"])


def test_what_the_models_learnt_from_and_what_cannot_be_measured_is_named(
    study: Study, models: Models, other: Cohort, tmp_path: Path
) -> None:
    rows = other.segments.to_dict("records")
    broken, learnt = rows[0], rows[1]
    root = tmp_path / "cohort"
    for segment in rows:
        volume = other.volume(segment)
        if segment is broken:
            volume = replace(volume, voxels=np.full_like(volume.voxels, 90))
        if segment is learnt:
            volume = study.cohort.volume(study.cohort.segments.to_dict("records")[7])
        write(volume, root / segment["path"])
    assert find_sidecar(root / broken["path"]).exists()
    found = external.score_cohort(models, replace(other, root=root), workers=1)
    reasons = dict(zip(map(tuple, found.failures[KEY].to_numpy()), found.failures["reason"], strict=True))
    assert "expected a brighter bone" in reasons.pop(tuple(broken[key] for key in KEY))
    assert "learnt from this very volume" in reasons.pop(tuple(learnt[key] for key in KEY))
    assert not reasons
    assert len(found.applicability) == 6

    none = replace(other, root=root, segments=other.segments.iloc[:1])
    with pytest.raises(FileError, match=r"no segment of Test clinic .* the first: .*brighter bone"):
        external.score_cohort(models, none, workers=1)
