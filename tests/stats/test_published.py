"""The paper's tables beside ours: recomputed means are those of the audit, and what is undefined says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mflib.base.words import LEVELS
from mflib.stats import performance, published
from mflib.stats.published.paper import FOLDER, fold_findings
from mflib.stats.published.printed import FoldTable, Printed


def predictions(model: str, patients: int, seed: int) -> pd.DataFrame:
    """Scores of noise for eight segments of each patient, in two folds."""
    rng = np.random.default_rng(seed)
    keys = [(f"sub-{n}", level, lat) for n in range(patients) for level in LEVELS for lat in "LR"]
    table = pd.DataFrame(keys, columns=["participant_id", "level", "lat"])
    y_true = np.random.default_rng(0).integers(0, 2, len(table))
    run = {"model": model, "split": "patient", "repeat": 0, "fold": 1 + np.arange(len(table)) % 2, "y_true": y_true}
    return table.assign(**run, score=rng.random(len(table)), threshold=0.5)


def test_means_of_the_papers_folds_are_recomputed_not_copied() -> None:
    # The printed mean sensitivity of the forest is 66.25 and the printed SD of the network's 6.39: neither follows
    # from the printed folds.
    forest = published.read("table2_random_forest")
    assert published.beside_folds(forest, "table2_random_forest")["sensitivity (%)"].iloc[-1].startswith("65.56 ")
    network = published.read("table3_dcnn")
    assert published.beside_folds(network, "table3_dcnn")["sensitivity (%)"].iloc[-1].endswith(" 5.53")
    assert published.infiltrated_share() == pytest.approx(160 / 368)


def test_an_interval_that_cannot_be_had_says_why() -> None:
    models = [predictions("random_forest", 6, 1), predictions("dcnn", 6, 2)]
    table = pd.concat([predictions("random_forest", 1, 1), models[1]], ignore_index=True)
    results = published.key_results(performance.fold_mean_auc(table), performance.summary(table)).set_index("metric")
    assert "no interval: " in results.loc["auc", "Random forest, ours"]
    assert "[" in results.loc["auc", "3D network, ours"]
    assert results["3D network, paper"].tolist() == ["0.79", "0.70", "0.67", "0.74", "0.67", "0.73"]
    assert not results.map(lambda cell: "nan" in cell).any(axis=None)


# Subject and status of what an independent recomputation found, with numbers that the finding must show.
IMPOSSIBLE, NOT, REPRODUCED = published.IMPOSSIBLE, published.NOT_REPRODUCIBLE, published.REPRODUCED
FOUND = [
    ("Random forest, kind of the SDs over the folds", REPRODUCED, ["population SD", "7.56", "6.97"]),
    ("3D network, kind of the SDs over the folds", REPRODUCED, ["population SD", "4.71", "5.53"]),
    ("Random forest, mean sensitivity", NOT, ["65.56", "66.25"]),
    ("3D network, SD of sensitivity", NOT, ["5.53", "6.39"]),
    ("Random forest, SD of accuracy", NOT, ["5.28", "5.24"]),
    ("Random forest, fold 1: confusion matrix", REPRODUCED, ["18 19 11 16 (N = 64)"]),
    ("Random forest, fold 2: confusion matrix", REPRODUCED, ["22 12 9 21 (N = 64)"]),
    ("Random forest, fold 3: confusion matrix", IMPOSSIBLE, ["nearest", "26 13 8 18 (N = 65)"]),
    ("Random forest, fold 4: confusion matrix", REPRODUCED, ["22 9 15 18 (N = 64)"]),
    ("Random forest, fold 5: confusion matrix", REPRODUCED, ["20 12 14 18 (N = 64)"]),
    ("3D network, fold 1: confusion matrix", REPRODUCED, ["21 11 7 34 (N = 73)"]),
    ("3D network, fold 2: confusion matrix", REPRODUCED, ["25 7 13 28 (N = 73)"]),
    ("3D network, fold 3: confusion matrix", REPRODUCED, ["19 15 13 26 (N = 73)"]),
    ("3D network, fold 4: confusion matrix", REPRODUCED, ["20 12 8 33 (N = 73)"]),
    ("3D network, fold 5: confusion matrix", REPRODUCED, ["23 9 13 28 (N = 73)"]),
    ("Random forest, fold sizes add up to the cohort", IMPOSSIBLE, ["= 321", "368"]),
    ("3D network, fold sizes add up to the cohort", IMPOSSIBLE, ["= 365", "368"]),
    ("both models were tested on the same segments", IMPOSSIBLE, ["321", "365", "368", "DeLong"]),
    ("3D network, folds of whole patients", IMPOSSIBLE, ["73", "multiples of 8"]),
    ("Random forest, positives of the folds add up to the cohort's", IMPOSSIBLE, ["= 165", "160"]),
    ("3D network, positives of the folds add up to the cohort's", IMPOSSIBLE, ["= 162", "160"]),
    ("Random forest, stratified folds", IMPOSSIBLE, ["45.3 %", "57.8 %", "43.5 %"]),
    ("3D network, stratified folds", IMPOSSIBLE, ["38.4 %", "52.1 %", "43.5 %"]),
    ("accuracy of the DCNN, abstract and results", IMPOSSIBLE, ["69", "70.41"]),
    ("AUC of the DCNN, abstract and results", IMPOSSIBLE, ["0.76", "0.79"]),
    ("P of the difference, abstract and results", IMPOSSIBLE, ["0.032", "<0.001"]),
    ("P of abstract with the AUCs of results 3", IMPOSSIBLE, ["0.032", "0.68 and 0.79", "no negative correlation"]),
    ("P of abstract with the AUCs of abstract", REPRODUCED, ["0.032", "0.68 and 0.76"]),
    ("interval of the DCNN with the AUC of methods 3", REPRODUCED, ["0.709 to 0.811"]),
    ("interval of the DCNN with the AUC of results 3", NOT, ["0.742 to 0.838"]),
    ("BMI against height and weight", REPRODUCED, ["0.59"]),
    ("BMI and VAS", REPRODUCED, ["P = 0.0037", "0.15 to 0.63"]),
    ("percentages of table 1", REPRODUCED, ["26/46 (56.5)", "25/160 (15.6)"]),
    ("grades of infiltration", REPRODUCED, ["87 + 48 + 25 = 160"]),
    ("segments of the patients", REPRODUCED, ["46 × 8 = 368"]),
    ("segments after exclusion", IMPOSSIBLE, ["30 × 8 = 240", "368"]),
    ("BMI that excludes", IMPOSSIBLE, [">=28", ">28"]),
]


def test_the_audit_finds_what_an_independent_recomputation_found() -> None:
    findings = {finding.what: finding for finding in published.audit_paper()}
    assert len(findings) == len(published.audit_paper())
    for what, status, numbers in FOUND:
        finding = findings[what]
        assert finding.status == status, what
        text = " ".join((finding.printed, finding.computed, finding.detail, finding.assumption))
        assert [number for number in numbers if number not in text] == [], what
    # Nothing else is called wrong but what follows from the same places.
    further = {what for what, f in findings.items() if f.status != REPRODUCED} - {what for what, _, _ in FOUND}
    assert further == {
        "Random forest, fold 3: accuracy, PPV, NPV from sensitivity and specificity",
        "AUC of the DCNN, methods 3 and results",
        "AUC of the DCNN, discussion and results",
    }


def test_equal_test_sets_are_impossible_only_where_no_matrices_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    # With so few digits many matrices fit. Those chosen, of one size in all folds, need not add up; others do.
    coarse = {"accuracy_pct": "67", "sensitivity_pct": "62", "specificity_pct": "71"}
    row = {name: Printed.of(text) for name, text in coarse.items()}
    found = published.examine(FoldTable(dict.fromkeys("12345", row)), *published.cohort_counts())
    assert sum(fit.chosen.sum() for fit in found.fits) != 368
    monkeypatch.setattr("mflib.stats.published.paper.fold_audits", lambda: {"one": found, "two": found})
    same = fold_findings()[-1]
    assert same.what == "both models were tested on the same segments"
    assert same.status == REPRODUCED


def test_claims_are_those_of_the_shared_copy(repository: Path) -> None:
    shared = repository.parent / "shared" / "published"
    if not shared.is_dir():
        pytest.skip("the folder shared/published with the paper's tables is not beside the repository")
    for path in shared.glob("*.csv"):
        assert (FOLDER / path.name).read_text() == path.read_text()
