"""Commands that need no study: statistics of anybody's tables, and the laboratory for students."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from mflib.cli.terminal import fail


def compare(
    predictions: Annotated[
        list[Path],
        typer.Argument(
            help="CSV files of any models with the columns participant_id, level, lat, model, split, repeat, fold, "
            "y_true, score, threshold."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for every table (CSV) and figure (SVG, PNG).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every table as JSON.")] = False,
) -> None:
    """Compare anybody's models on the same segments: areas, decisions, calibration, with patients as clusters."""
    from mflib import compare as comparing

    try:
        comparison = comparing.run(comparing.read(predictions))
        written = comparing.write(comparison, out) if out else []
    except (comparing.CompareError, OSError) as error:
        fail(str(error))
    if as_json:
        typer.echo(comparing.as_json(comparison))
    elif out is None:
        comparing.show(comparison, Console(highlight=False))
    else:
        for path in written:
            typer.echo(str(path))


def audit(
    folds: Annotated[
        Path,
        typer.Argument(
            help="CSV with fold and any of accuracy_pct, ppv_pct, npv_pct, sensitivity_pct, specificity_pct (percent) "
            "and auc, with the decimals that are printed."
        ),
    ],
    positives: Annotated[int, typer.Option(help="Positive cases of the whole cohort.")],
    negatives: Annotated[int, typer.Option(help="Negative cases of the whole cohort.")],
    segments_per_patient: Annotated[
        int | None, typer.Option(help="Cases that each patient brings; folds of whole patients are then looked for.")
    ] = None,
    summary: Annotated[
        Path | None, typer.Option(help="CSV: metric, mean, sd, the printed values over the folds.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON.")] = False,
) -> None:
    """Say what follows from a published table of folds and what cannot be; findings are no failure, so it exits 0."""
    from mflib import audit as audits

    try:
        table = audits.read_folds(folds)
        printed = audits.read_summary(summary, table) if summary else None
        found = audits.examine(table, positives, negatives, segments_per_patient=segments_per_patient, summary=printed)
    except audits.AuditError as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2))
    else:
        audits.show(found, Console(highlight=False))


def exercises(
    folder: Annotated[Path, typer.Argument(help="Folder to write the two notebooks to.")],
    force: Annotated[bool, typer.Option(help="Replace notebooks that are there already.")] = False,
) -> None:
    """Write the pitfalls laboratory for students: without the solutions of its exercises, and with them beside."""
    from mflib.report import exercises as laboratory

    try:
        written = laboratory.write(folder, force=force)
    except (laboratory.ExercisesError, OSError) as error:
        fail(str(error))
    for path in written:
        typer.echo(str(path))
