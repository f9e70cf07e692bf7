"""A run of seconds, kept by the notebooks' own calls."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mflib.study import predict
from mflib.study.lab import Study
from mflib.study.predict import Models
from tests.conftest import write_cohort
from tests.notebooks.runs import SMALL


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study of eight patients, whose forests and networks are kept."""
    folder = tmp_path_factory.mktemp("predict")
    write_cohort(folder / "cohort", 8, ".nii.gz", 8)
    # Its regions are 7 mm wide: in a box for people they would be a speck in the input.
    changes = SMALL | {"network": SMALL["network"] | {"workers": 1, "extent_mm": [8.0, 8.0, 8.0]}}
    made = Study.open("quick", str(folder / "cohort"), str(folder / "run"), changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOKY_MAX_CPU_COUNT", "1")  # everything in this process
        made.keep_predictions(made.forest.predictions, "random_forest")
        made.keep_forest()
        result = made.network()
        made.keep_predictions(result.predictions, "dcnn")
        made.keep_network(result)
    return made


@pytest.fixture(scope="session")
def models(study: Study) -> Models:
    return predict.load(study.folder)


@pytest.fixture
def copied(study: Study, tmp_path: Path) -> Callable[[], Path]:
    """A copy of the run's models, to be spoilt."""

    def copy() -> Path:
        files = [path for path in study.artifacts.glob("*.*") if path.suffix in (".json", ".safetensors")]
        (tmp_path / "artifacts").mkdir()
        for path in files:
            shutil.copy2(path, tmp_path / "artifacts")
        return tmp_path

    return copy
