"""Reports of the tests: a profile that takes seconds, and the command that makes them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner

from mflib.cli import app
from mflib.study.pipeline import NOTEBOOKS
from tests import processes

SMALL = {
    "n_folds": 2,
    "texture": {"levels": [16, 64], "steps": [1, 3], "nakagami_input": "intensity"},
    "robustness": {"gain_db": 2.0},
    "forest": {"trees": 50, "permutations": 2, "inner_trees": 10, "leaf_sizes": [1, 10], "repeats": 2},
    "network": {"depth": "small", "width": 4, "size": [16, 16, 8], "epochs": 2, "learning_rate": 0.01},
    "comparisons": ["pretraining", "dilation", "patients"],
    "pitfalls": {"repetitions": 2, "simulations": 20, "permutations": 2, "trees": 5, "volumes": 1},
}


def write_profile(folder: Path, changes: dict[str, Any]) -> Path:
    values = yaml.safe_load((NOTEBOOKS / "profiles" / "quick.yaml").read_text()) | SMALL | changes
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "mflib", *map(str, arguments)]


def called(*arguments: str | Path) -> str:
    """What the command prints where it succeeds; in this process, which has imported everything."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(*arguments: str | Path) -> str:
    """What the command says where it gives up before any work; in this process, which has imported everything."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 1, done.output
    return done.stderr


def mflib(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return processes.run(command(*arguments))
