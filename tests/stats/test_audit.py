"""The audit of whole tables: it stays quiet on made-up studies that are consistent, and finds what was put wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, roc_auc_score
from sklearn.model_selection import GroupKFold, StratifiedKFold
from typer.testing import CliRunner

from mflib.cli import app
from mflib.stats import published
from mflib.stats.published.audit import Audit
from mflib.stats.published.printed import METRICS

PER_PATIENT = 4
HEADER = ["fold", *METRICS]


def results(y: np.ndarray, score: np.ndarray, threshold: float) -> list[float]:
    """``METRICS`` of one fold; NaN where undefined."""
    tn, fp, fn, tp = (int(n) for n in confusion_matrix(y, score >= threshold).ravel())
    ratios = [(tp + tn, len(y)), (tp, tp + fp), (tn, tn + fn), (tp, tp + fn), (tn, tn + fp)]
    return [*(100 * of / over if over else np.nan for of, over in ratios), float(roc_auc_score(y, score))]


def printed(value: float, decimals: int, cut: bool) -> str:
    return f"{np.floor(value * 10**decimals) / 10**decimals if cut else value:.{decimals}f}"


def study(folder: Path, seed: int, grouped: bool) -> tuple[Path, Path, int, int]:
    """A made-up cohort in folds: the printed table of folds, that of means and SDs, positives and negatives."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(rng.integers(20, 60)), PER_PATIENT)
    y = (rng.random(len(groups)) < rng.uniform(0.3, 0.6)).astype(int)
    score = y + rng.normal(scale=rng.uniform(0.5, 3), size=len(y))
    k, threshold = int(rng.integers(2, 7)), float(rng.uniform(0.2, 0.8))
    divide = GroupKFold(k) if grouped else StratifiedKFold(k, shuffle=True, random_state=seed)
    exact = np.array(
        [results(y[test], score[test], threshold) for _, test in divide.split(y, y, groups if grouped else None)]
    )
    decimals, cut = rng.integers(1, 4), bool(rng.integers(2))
    texts = [[printed(v, decimals if n < 5 else 3, cut) for n, v in enumerate(row)] for row in exact]
    with (folder / "folds.csv").open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *([n, *row] for n, row in enumerate(texts, 1))])
    sds = exact.std(axis=0, ddof=rng.integers(2))
    rows = [[m, f"{mean:.2f}", f"{sd:.2f}"] for m, mean, sd in zip(METRICS, exact.mean(axis=0), sds, strict=True)]
    with (folder / "summary.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["metric", "mean", "sd"], *rows])
    assert np.isfinite(exact).all()
    return folder / "folds.csv", folder / "summary.csv", int(y.sum()), int((1 - y).sum())


@pytest.mark.parametrize("seed", range(16))
def test_a_consistent_study_stays_quiet(seed: int, tmp_path: Path) -> None:
    grouped = seed % 2 == 1
    path, summary, positives, negatives = study(tmp_path, seed, grouped)
    folds = published.read_folds(path)
    found = published.examine(
        folds,
        positives,
        negatives,
        segments_per_patient=PER_PATIENT if grouped else None,
        summary=published.read_summary(summary, folds),
    )
    assert [finding for finding in found.findings if finding.status != published.REPRODUCED] == []
    assert found.unchecked == []
    subjects = {finding.what for finding in found.findings}
    assert {"means over the folds", "kind of the SDs over the folds", "fold sizes add up to the cohort"} <= subjects
    assert ("folds of whole patients" in subjects) == grouped
    # Without a word on patients nobody claims that single cases were split: folds are not asked to be stratified.
    found = published.examine(folds, positives, negatives)
    assert [finding for finding in found.findings if finding.status != published.REPRODUCED] == []


def broken(tmp_path: Path, line: int, column: str, value: str) -> Audit:
    """The audit of a consistent study with one cell changed."""
    path, _, positives, negatives = study(tmp_path, 0, grouped=False)
    rows = list(csv.reader(path.read_text().splitlines()))
    rows[line][HEADER.index(column)] = value
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return published.examine(published.read_folds(path), positives, negatives)


@pytest.mark.parametrize(
    ("column", "value", "what"),
    [
        ("ppv_pct", "99.12", "fold 1: confusion matrix"),
        ("accuracy_pct", "3.13", "fold 1: accuracy, PPV, NPV from sensitivity and specificity"),
        ("auc", "0.01", "fold 1: AUC against sensitivity and specificity"),
    ],
)
def test_one_wrong_cell_is_found(column: str, value: str, what: str, tmp_path: Path) -> None:
    found = broken(tmp_path, 1, column, value)
    assert what in {finding.what for finding in found.findings if finding.status == published.IMPOSSIBLE}


def test_the_wrong_cohort_is_found(tmp_path: Path) -> None:
    path, _, positives, negatives = study(tmp_path, 2, grouped=False)
    found = published.examine(published.read_folds(path), positives + 7, negatives - 7)
    wrong = {finding.what for finding in found.findings if finding.status == published.IMPOSSIBLE}
    assert "positives of the folds add up to the cohort's" in wrong
    assert "fold sizes add up to the cohort" not in wrong


def invoke(path: Path, *arguments: str, positives: str = "160", negatives: str = "208") -> tuple[int, str, str]:
    given = ["audit", str(path), "--positives", positives, "--negatives", negatives, *arguments]
    done = CliRunner().invoke(app, given)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def test_command_prints_findings_by_status(repository: Path) -> None:
    path = repository / "data" / "published" / "table3_dcnn.csv"
    code, shown, _ = invoke(path, "--segments-per-patient", "8")
    assert code == 0
    assert shown.index("impossible under the stated assumption (4)") < shown.index("reproduced (8)")
    code, shown, _ = invoke(path, "--segments-per-patient", "8", "--json")
    findings = {finding["what"]: finding for finding in json.loads(shown)["findings"]}
    assert code == 0
    assert len(findings) == 12
    assert findings["fold sizes add up to the cohort"]["computed"] == "73 + 73 + 73 + 73 + 73 = 365, 3 off"


def test_what_cannot_be_checked_says_why(tmp_path: Path) -> None:
    (tmp_path / "folds.csv").write_text("fold,auc,kappa\n1,0.71,0.3\n2,0.75,0.4\n")
    code, shown, _ = invoke(tmp_path / "folds.csv", "--json")
    assert code == 0
    content = json.loads(shown)
    assert content["findings"] == []
    assert [reason.partition(":")[0] for reason in content["unchecked"]] == [
        "column kappa",
        "relations between percentages",
        "confusion matrices",
        "sizes of the folds",
    ]


@pytest.mark.parametrize(
    ("row", "positives", "reason"),
    [
        ("75.10,71.22,78.33", "10000000", "more than 20,000,000 ways to give sensitivity 71.22, expected"),
        ("75,71,78", "4000", "more than 20,000,000 ways to give sensitivity 71, specificity 78"),
        ("80,80,80", "500", "more than 1,000,000 ways to give accuracy 80, sensitivity 80, specificity 80"),
    ],
)
def test_too_large_a_cohort_is_said_to_be_unchecked(row: str, positives: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "folds.csv").write_text(f"fold,accuracy_pct,sensitivity_pct,specificity_pct\n1,{row}\n")
    code, shown, _ = invoke(tmp_path / "folds.csv", "--json", positives=positives, negatives="500")
    assert code == 0
    assert any(f"found {reason}" in line for line in json.loads(shown)["unchecked"])


@pytest.mark.parametrize(
    "content",
    [
        "Fold;PPV (%);AUC\n1;67,18;0,71\n2;70,25;0,75\nMittelwert ± SD;68,72;0,73\n",
        "表3 五折交叉验证结果\n折,阳性预测值(%),曲线下面积\n1,67.18%,0.71\n２,70.25%,０.75\n平均值,68.72%,0.73\n",
        "fold\tauc\tppv_pct\n\n1\t.71\t67.18\n2\t.75\t70.25\noverall\t.73\t68.72\nMean (SD)\t.73\t68.72\n",
    ],
)
def test_a_table_of_folds_is_read_as_it_is_printed_anywhere(content: str, tmp_path: Path) -> None:
    path = tmp_path / "folds.csv"
    path.write_text(content, encoding="gb18030" if "折" in content else "utf-8")
    found = published.read_folds(path)
    assert [[fold[name].value for name in ("ppv_pct", "auc")] for fold in found.folds.values()] == [
        [67.18, 0.71],
        [70.25, 0.75],
    ]
    assert sum("sums up others" in notice for notice in found.notices) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "found no rows, expected a header"),
        ("fold,auc\n", "found no rows, expected a header"),
        ("fold,sens\n1,50\n", "found columns ['fold', 'sens'], expected fold and any of"),
        ("fold,auc\n1,0.7\n1,0.8\n", "line 3, column fold: found '1', expected each fold once"),
        ("fold,auc\n1,0.7\n,0.8\n", "line 3, column fold: found '', expected the name of a fold"),
        ("fold,auc\n1,0.7\n2,n/a\n", "line 3, column auc: found 'n/a', expected a number from 0 to 1"),
        ("fold,ppv_pct\n1,67.18\n2,-3\n", "line 3, column ppv_pct: found '-3', expected a number from 0 to 100"),
        ("fold,ppv_pct\n1,167.18\n", "line 2, column ppv_pct: found '167.18', expected a number from 0 to 100"),
        ("fold,ppv_pct\n1,0.67\n2,0.70\n", "found no percentage above 1, expected percent"),
        ("fold,ppv_pct\n1,67,18\n", "line 2: found 3 cells, expected 2"),
        ("fold,auc,auc\n1,0.7,0.7\n", "found the column 'auc' twice"),
        ("fold,auc\n1,\x00\xff", "found bytes that are no text; expected a table"),
    ],
)
def test_an_unusable_table_is_one_clear_line(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "folds.csv"
    path.write_text(content, encoding="latin-1")
    code, shown, error = invoke(path)
    assert (code, shown) == (1, "")
    assert error.startswith(str(path)) and said in error


def test_other_refusals(repository: Path, tmp_path: Path) -> None:
    path = repository / "data" / "published" / "table3_dcnn.csv"
    assert "found no such file; expected a table" in invoke(tmp_path / "none.csv")[2]
    assert "found -1 negatives, expected 1 or more" in invoke(path, negatives="-1")[2]
    assert "found 0 segments per patient" in invoke(path, "--segments-per-patient", "0")[2]
    (tmp_path / "summary.csv").write_text("metric,mean,sd\nkappa,0.3,0.1\n")
    assert "line 2, column metric: found 'kappa'" in invoke(path, "--summary", str(tmp_path / "summary.csv"))[2]
