"""Training on toy textures: it learns, it does not leak, and it survives being killed."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from mflib.base.errors import InputError, RunError
from mflib.base.settings import build
from mflib.base.words import KEY
from mflib.data import preprocess
from mflib.data.volume import Annotation, Volume, read, write
from mflib.models.dcnn import inputs as network_inputs
from mflib.models.dcnn import training
from mflib.models.dcnn.fold import train_fold
from mflib.models.dcnn.inputs import FoldResult, Source, Task, prepare
from mflib.models.dcnn.settings import NetworkSettings
from mflib.models.dcnn.training import NetworkResult, out_of_fold
from mflib.models.folds import Fold, make
from mflib.stats.performance.metrics import youden_threshold
from tests.models.toy import FOLD, LABELS, QUICK, SIZE, same_weights, textures

COLUMNS = [*KEY, "model", "split", "repeat", "fold", "y_true", "score", "threshold", "probability"]


@pytest.fixture(scope="module")
def labels() -> NDArray[np.int64]:
    return LABELS


@pytest.fixture(scope="module")
def inputs() -> NDArray[np.float32]:
    return textures()


@pytest.fixture(scope="module")
def trained(
    inputs: NDArray[np.float32], labels: NDArray[np.int64], tmp_path_factory: pytest.TempPathFactory
) -> tuple[FoldResult, Path]:
    folder = tmp_path_factory.mktemp("trained")
    return train_fold(Task(inputs, labels, FOLD, QUICK, folder)), folder


def test_learns_a_difference_in_texture(trained: tuple[FoldResult, Path], labels: NDArray[np.int64]) -> None:
    result, _ = trained
    assert roc_auc_score(labels[FOLD.test], result.test) > 0.8


def test_scores_are_those_of_the_last_epoch(trained: tuple[FoldResult, Path], labels: NDArray[np.int64]) -> None:
    result, _ = trained
    last = result.history[-1]
    truth, scores = labels[FOLD.validation], np.asarray(result.validation)
    loss = -np.mean(np.log(np.where(truth == 1, scores, 1 - scores)))
    assert [epoch["epoch"] for epoch in result.history] == [1, 2, 3, 4, 5]
    assert roc_auc_score(truth, scores) == last["validation_auc"]
    assert loss == pytest.approx(last["validation_loss"])


def test_test_labels_change_nothing(
    trained: tuple[FoldResult, Path], inputs: NDArray[np.float32], labels: NDArray[np.int64], tmp_path: Path
) -> None:
    result, folder = trained
    swapped = labels.copy()
    swapped[FOLD.test] = 1 - swapped[FOLD.test]
    assert train_fold(Task(inputs, swapped, FOLD, QUICK, tmp_path)) == result
    assert same_weights(folder, tmp_path)


def test_test_volumes_do_not_reach_the_weights(
    trained: tuple[FoldResult, Path], inputs: NDArray[np.float32], labels: NDArray[np.int64], tmp_path: Path
) -> None:
    result, folder = trained
    other = inputs.copy()
    other[FOLD.test] = -other[FOLD.test]
    assert train_fold(Task(other, labels, FOLD, QUICK, tmp_path)).test != result.test
    assert same_weights(folder, tmp_path)


def test_finished_fold_is_read_and_another_seed_is_trained(
    inputs: NDArray[np.float32], labels: NDArray[np.int64], tmp_path: Path
) -> None:
    settings = replace(QUICK, epochs=1)
    epochs: list[int] = []
    runs = [
        train_fold(Task(inputs, labels, FOLD, s, tmp_path), lambda epoch: epochs.append(epoch["epoch"]))
        for s in (settings, replace(settings, workers=1), replace(settings, seed=21))
    ]
    assert epochs == [1, 1]
    assert runs[0] == runs[1] != runs[2]


def trained_on(tasks: list[Task]) -> NetworkResult:
    """What the trainings of several folds would leave, as far as `learning` looks at it."""
    results = {task.fold.number: train_fold(task) for task in tasks}
    history = training._history({(0, number): result.history for number, result in results.items()})
    scores = [{"repeat": 0, "fold": n, "score": score} for n, result in results.items() for score in result.test]
    made = pd.DataFrame()
    return NetworkResult(pd.DataFrame(scores), history.assign(split="patient"), [], tasks[0].inputs, made, [])


def test_a_network_that_has_not_learnt_is_named(
    inputs: NDArray[np.float32], labels: NDArray[np.int64], tmp_path: Path
) -> None:
    shifted = [np.roll(np.arange(96), 24 * n) for n in range(4)]
    folds = [Fold(0, n, part[:48], part[48:72], part[72:]) for n, part in enumerate(shifted, 1)]
    tasks = [Task(inputs, labels, fold, QUICK, tmp_path / f"{fold.number}") for fold in folds]
    sound = training.learning(trained_on(tasks), folds, labels)
    assert sound["learnt"].all() and sound["base_loss"].tolist() == pytest.approx([np.log(2)] * 4)
    assert re.fullmatch(
        r"All 4 networks have learnt: their training loss fell from 0\.69, .* to 0\.\d\d on average \(.*\)\.",
        training.learning_in_words(sound),
    )
    # With a rate of almost nothing only batch statistics move; the other learns labels that were shuffled by heart.
    rng = np.random.default_rng(2)
    still = replace(tasks[1], settings=replace(QUICK, learning_rate=1e-30), folder=tmp_path / "still")
    shuffled = replace(tasks[2], labels=rng.permutation(labels), folder=tmp_path / "shuffled")
    found = training.learning(trained_on([tasks[0], still, shuffled, tasks[3]]), folds, labels)
    assert found["learnt"].tolist() == [True, False, False, True]
    assert re.findall(r"Fold (\d) has not learnt", training.learning_in_words(found)) == ["2", "3"]


@pytest.mark.slow
def test_labels_shuffled_over_patients_give_chance(tmp_path: Path) -> None:
    """Volumes of a patient are alike, and a patient's labels say nothing of them; several seeds, within the error."""
    patients, areas = np.repeat(np.arange(24), 4), []
    inputs = textures(np.repeat(np.arange(24) % 2, 4))
    for seed in range(8):
        rng = np.random.default_rng(seed)
        labels = (np.repeat(rng.permutation(24) < 11, 4) ^ (rng.random(96) < 0.1)).astype(np.int64)
        settings = replace(QUICK, seed=seed)
        for fold in make(labels, patients, n_folds=3, seed=seed):
            task = Task(inputs, labels, fold, settings, tmp_path / f"{seed}-{fold.number}")
            areas.append(roc_auc_score(labels[fold.test], train_fold(task).test))
    of_seed = np.reshape(areas, (8, 3)).mean(axis=1)
    assert np.mean(of_seed) == pytest.approx(0.5, abs=2.5 * np.std(of_seed, ddof=1) / np.sqrt(8))
    assert np.std(of_seed) < 0.15


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: x[:, :8], r"input 0 is float32 \(8, 16, 8\), expected float32 \(16, 16, 8\)"),
        (lambda x: np.where(np.arange(96)[:, None, None, None] == 71, np.float32(np.nan), x), "input 71 holds values"),
    ],
)
def test_unusable_input_is_named(
    inputs: NDArray[np.float32],
    labels: NDArray[np.int64],
    tmp_path: Path,
    spoil: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        train_fold(Task(spoil(inputs), labels, FOLD, QUICK, tmp_path))


def test_diverged_training_is_an_error(inputs: NDArray[np.float32], labels: NDArray[np.int64], tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"fold 1 of repeat 0: loss .* at epoch 1, expected finite numbers"):
        train_fold(Task(inputs, labels, FOLD, replace(QUICK, learning_rate=1e6), tmp_path))


def test_every_meaningless_setting_is_listed() -> None:
    said = r"gain: found 'louder', expected .*; epochs: found 0, expected at least 1; flips\.0: found 3, expected"
    with pytest.raises(InputError, match=said):
        build(NetworkSettings, {"gain": "louder", "epochs": 0, "flips": [3]}, "a test")


class ToyCohort:
    """Eight patients of three segments in a folder; what ``out_of_fold`` needs of a cohort and no more."""

    def __init__(self, root: Path) -> None:
        self.root = root
        keys = [(f"sub-{p:03}", level, "L") for p in range(8) for level in ("L23", "L34", "L45")]
        self.segments = pd.DataFrame(keys, columns=["participant_id", "level", "lat"])
        self.segments["label"] = np.arange(24) % 2
        self.segments["path"] = [f"{'_'.join(key)}.nii.gz" for key in keys]
        rng = np.random.default_rng(3)
        for path, label in zip(self.segments["path"], self.segments["label"], strict=True):
            write(Volume(self.voxels(rng, label), (0.5, 0.5, 0.5)), root / path)

    def voxels(self, rng: np.random.Generator, label: int) -> NDArray[np.uint8]:
        voxels = 80 + 60 * gaussian_filter(rng.standard_normal((24, 24, 16)), 0.6 + 0.5 * label)
        voxels[:, :4], voxels[:, 20:] = 230, 15
        return np.clip(voxels, 0, 255).astype(np.uint8)

    def volume(self, segment: Mapping[str, Any]) -> Volume:
        return read(self.root / segment["path"])

    def annotation(self, segment: Mapping[str, Any]) -> Annotation:
        return Annotation((12, 2, 8), (12, 22, 8), (2, 4, 2), (20, 16, 12))


def test_out_of_fold_scores_every_segment_once_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = ToyCohort(tmp_path / "cohort")
    folds = make(cohort.segments["label"], cohort.segments["participant_id"], n_folds=2, seed=1)
    settings = replace(QUICK, epochs=2, workers=1)
    arguments = (Source(cohort, preprocess.GainSettings(), tmp_path / "run"), folds, settings)
    result = out_of_fold(*arguments)
    predictions, printed = result.predictions, capsys.readouterr().out
    assert predictions.columns.tolist() == COLUMNS
    assert sorted(predictions[KEY].itertuples(index=False)) == sorted(cohort.segments[KEY].itertuples(index=False))
    truth = predictions.merge(cohort.segments, on=KEY)
    assert (truth["y_true"] == truth["label"]).all()
    assert len(result.history) == 4
    assert "dcnn epochs 4/4" in printed

    for fold in folds:
        recorded = json.loads((tmp_path / f"run/patient/fold-0-{fold.number}/fold.json").read_text())
        labels = cohort.segments["label"].to_numpy()[fold.validation]
        expected = youden_threshold(labels, recorded["validation"])
        assert (predictions.loc[predictions["fold"] == fold.number, "threshold"] == expected).all()

    monkeypatch.setattr(training, "train_all", None)  # a finished fold starts no process
    pd.testing.assert_frame_equal(out_of_fold(*arguments).predictions, predictions)


def test_changed_volume_is_prepared_again_and_alone(tmp_path: Path) -> None:
    settings = replace(QUICK, workers=1)
    cohort = ToyCohort(tmp_path / "cohort")
    first = prepare(Source(cohort, preprocess.GainSettings(), tmp_path), settings)
    changed = cohort.voxels(np.random.default_rng(9), 0)
    write(Volume(changed, (0.5, 0.5, 0.5)), cohort.root / cohort.segments["path"][5])
    second = prepare(Source(cohort, preprocess.GainSettings(), tmp_path), settings)
    assert [i for i, pair in enumerate(zip(first.paths, second.paths, strict=True)) if pair[0] != pair[1]] == [5]
    region = preprocess.region(Volume(changed, (0.5, 0.5, 0.5)), cohort.annotation({}), preprocess.GainSettings())
    expected = preprocess.network_input(preprocess.zscore(region.voxels), SIZE, (0.5, 0.5, 0.5), settings.extent_mm)
    np.testing.assert_array_equal(second[5], expected)
    assert len(list((tmp_path / "inputs").iterdir())) == 25


def test_a_volume_that_changes_while_it_is_read_passes_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another volume lies there for the moment of reading, as the faults of ``tests.faults`` have it."""
    settings, cohort = replace(QUICK, workers=1), ToyCohort(tmp_path / "cohort")
    path, other = (cohort.root / cohort.segments["path"][n] for n in (5, 6))
    own, made = path.read_bytes(), network_inputs.made

    def exchanged(cohort: Any, segment: Mapping[str, Any], *others: Any) -> NDArray[np.float32]:
        if segment["path"] == cohort.segments["path"][5]:
            path.write_bytes(other.read_bytes())
        return made(cohort, segment, *others)

    monkeypatch.setattr(network_inputs, "made", exchanged)
    source = Source(cohort, preprocess.GainSettings(), tmp_path)
    with pytest.raises(RunError, match="changed while it was read"):
        prepare(source, settings)
    path.write_bytes(own)
    monkeypatch.setattr(network_inputs, "made", made)
    fresh = Source(cohort, preprocess.GainSettings(), tmp_path / "fresh")
    np.testing.assert_array_equal(prepare(source, settings)[5], prepare(fresh, settings)[5])


def test_volume_that_cannot_be_normalised_is_named(tmp_path: Path) -> None:
    settings = replace(QUICK, workers=1)
    cohort = ToyCohort(tmp_path / "cohort")
    path = cohort.segments["path"][7]
    write(Volume(np.full((24, 24, 16), 90, np.uint8), (0.5, 0.5, 0.5)), cohort.root / path)
    with pytest.raises(InputError, match=rf"{path}: bone"):
        prepare(Source(cohort, preprocess.GainSettings(), tmp_path), settings)
