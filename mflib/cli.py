"""The command ``mflib``: a thin skin over the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

app = typer.Typer(
    help="The multifidus study: simulate a cohort, check a cohort folder, measure texture, make the report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# soft_wrap: a fault is one line for grep, however narrow the terminal.
console = Console(soft_wrap=True, highlight=False)
errors = Console(soft_wrap=True, highlight=False, stderr=True)
SCHEDULER = "Address of a Dask scheduler, such as tcp://host:8786, whose workers do the heavy work."


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to write the cohort to; goes on where an earlier call stopped.")],
    profile: Annotated[str, typer.Option(help="quick: 128 x 128 x 48 voxels; paper: 256 x 256 x 96.")] = "quick",
    patients: Annotated[int, typer.Option(min=1, help="Analysed patients; some more are screened and excluded.")] = 46,
    seed: Annotated[int, typer.Option(help="The same seed gives the same cohort.")] = 20,
) -> None:
    """Simulate a synthetic cohort with known truth."""
    from mflib import phantom as simulator

    try:
        simulator.write_cohort(out, profile=profile, patients=patients, seed=seed)
    except simulator.PhantomError as error:
        _fail(str(error))
    console.print(str(out))


@app.command()
def check(
    cohort: Annotated[Path, typer.Argument(help="The cohort folder; data/README.md says how it is laid out.")],
    as_json: Annotated[bool, typer.Option("--json", help="Faults, notices and summary as JSON.")] = False,
) -> None:
    """Print every fault of a cohort folder and exit 1, or its summary and exit 0."""
    from mflib import check as checks

    inspection = checks.inspect(cohort, progress=not as_json)
    if as_json:
        content = {
            "ok": not inspection.faults,
            "faults": [fault.as_dict() for fault in inspection.faults],
            "notices": inspection.notices,
            "summary": inspection.summary(),
        }
        typer.echo(json.dumps(content, indent=2))
    else:
        for fault in inspection.faults:
            console.print(str(fault), markup=False)
        for notice in inspection.notices:
            console.print(f"notice: {notice}", markup=False)
        for name, value in inspection.summary().items():
            console.print(f"{name}: {value}", markup=False)
        console.print(f"{len(inspection.faults)} faults", style="red" if inspection.faults else "green")
    raise typer.Exit(1 if inspection.faults else 0)


@app.command()
def report(
    cohort: Annotated[Path | None, typer.Option(help="Cohort folder instead of the profile's.")] = None,
    profile: Annotated[str, typer.Option(help="quick, paper, transfer, or the path of a YAML file.")] = "quick",
    run: Annotated[
        Path | None, typer.Option(help="Run folder; the profile's, or reports/<profile>-<cohort>, by default.")
    ] = None,
    start: Annotated[str | None, typer.Option("--from", help="Run this notebook and those after it again.")] = None,
    only: Annotated[str | None, typer.Option(help="Run this notebook again and leave the others.")] = None,
    force: Annotated[bool, typer.Option(help="Run every notebook again.")] = False,
    scheduler: Annotated[str, typer.Option(help=SCHEDULER)] = "",
    timeout: Annotated[float, typer.Option(min=0.1, help="Minutes that one cell may take.")] = 1440.0,
) -> None:
    """Run the notebooks on a cohort and join them into one offline HTML report; prints its path last."""
    from mflib import report as reports
    from mflib.cohort import CohortError
    from mflib.dcnn.compute import PrecisionError
    from mflib.dcnn.weights import WeightsError
    from mflib.folds import FoldsError
    from mflib.lock import LockError
    from mflib.parallel import SchedulerError
    from mflib.report.pipeline import PipelineError, Selection, find_step
    from mflib.study.profile import ProfileError, of_run

    try:
        values = of_run(profile, cohort=cohort, run=run, scheduler=scheduler)
        selection = Selection(find_step(start) if start else None, find_step(only) if only else None, force)
        outcome = reports.make(values, Path(profile).stem, selection, round(timeout * 60))
    except (
        ProfileError,
        CohortError,
        FoldsError,
        LockError,
        PipelineError,
        SchedulerError,
        PrecisionError,
        WeightsError,
    ) as error:
        _fail(str(error))
    if not outcome.succeeded:
        errors.print("Some notebooks did not run to their end; the report shows what there is, and the errors.")
    typer.echo(str(outcome.path))
    raise typer.Exit(0 if outcome.succeeded else 1)


@app.command()
def texture(
    target: Annotated[Path, typer.Argument(help="A cohort folder, or one NIfTI, NRRD or MHA volume.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="FILE.csv or FILE.parquet; for a cohort its run folder, for a volume the terminal, by default."
        ),
    ] = None,
    roi: Annotated[str | None, typer.Option(help="Region of a volume in voxels from 0: i,j,k,ni,nj,nk.")] = None,
    bone: Annotated[str | None, typer.Option(help="Voxel on the spinous process of a volume: i,j,k.")] = None,
    shadow: Annotated[str | None, typer.Option(help="Voxel in its shadow; both points normalise the gain.")] = None,
    profile: Annotated[str, typer.Option(help="quick, paper, transfer, or the path of a YAML file.")] = "quick",
    run: Annotated[Path | None, typer.Option(help="Run folder that keeps a cohort's numbers; as for report.")] = None,
    scheduler: Annotated[str, typer.Option(help=SCHEDULER)] = "",
) -> None:
    """Measure the texture of a cohort, or of one volume: as recorded, or gain-normalised with two points."""
    from mflib.cohort import CohortError
    from mflib.lock import LockError, locked
    from mflib.parallel import SchedulerError
    from mflib.study import Study, write_table
    from mflib.study.profile import ProfileError, of_run
    from mflib.texture import one
    from mflib.texture.bank import BankError

    if out is not None and out.suffix not in (".csv", ".parquet"):
        _fail(f"--out is {out.name}, expected a name that ends in .csv or .parquet")
    whole = target.is_dir()
    misplaced = (
        {"--roi": roi, "--bone": bone, "--shadow": shadow} if whole else {"--run": run, "--scheduler": scheduler}
    )
    if any(misplaced.values()):
        names = ", ".join(name for name, value in misplaced.items() if value)
        _fail(f"found {names}, which is for {'one volume' if whole else 'a cohort'}, and {target.name}, which is not")
    path: Path | None
    try:
        study = Study.open(**of_run(profile, cohort=target if whole else None, run=run, scheduler=scheduler))
        if whole:
            with locked(study.profile.run_folder):
                table, path = study.texture, out or study.artifacts / "texture.parquet"
                write_table(table, path)
        else:
            marks = {"roi": (roi, 6), "bone": (bone, 3), "shadow": (shadow, 3)}
            given = {name: _voxels(name, text, count) for name, (text, count) in marks.items() if text}
            table, path = one.measure_file(target, study.profile.preprocessing, study.profile.texture, **given), out
            if path is not None:
                write_table(table, path)
    except (BankError, CohortError, ProfileError, SchedulerError, LockError, ValueError, OSError) as error:
        _fail(str(error))
    if path is None:
        for name, value in table.iloc[0].items():
            typer.echo(f"{name}\t{value}")
    else:
        typer.echo(str(path))


@app.command()
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
        _fail(str(error))
    if as_json:
        typer.echo(comparing.as_json(comparison))
    elif out is None:
        comparing.show(comparison, Console(highlight=False))
    else:
        for path in written:
            typer.echo(str(path))


@app.command()
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
        _fail(str(error))
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2))
    else:
        audits.show(found, Console(highlight=False))


@app.command()
def exercises(
    folder: Annotated[Path, typer.Argument(help="Folder to write the two notebooks to.")],
    force: Annotated[bool, typer.Option(help="Replace notebooks that are there already.")] = False,
) -> None:
    """Write the pitfalls laboratory for students: without the solutions of its exercises, and with them beside."""
    from mflib.report import exercises as laboratory

    try:
        written = laboratory.write(folder, force=force)
    except (laboratory.ExercisesError, OSError) as error:
        _fail(str(error))
    for path in written:
        typer.echo(str(path))


def _voxels(name: str, text: str, count: int) -> Any:
    """Whole numbers separated by commas."""
    parts = text.split(",")
    if len(parts) != count or not all(part.strip().lstrip("-").isdigit() for part in parts):
        _fail(f"--{name} is {text!r}, expected {count} whole numbers separated by commas")
    return tuple(int(part) for part in parts)


def _fail(message: str) -> NoReturn:
    errors.print(message, markup=False, style="red")
    raise typer.Exit(1)
