"""The command ``mflib``: a thin skin over the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(
    help="The multifidus study: simulate a cohort, check a cohort folder, make the report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# soft_wrap: a fault is one line for grep, however narrow the terminal.
console = Console(soft_wrap=True, highlight=False)
errors = Console(soft_wrap=True, highlight=False, stderr=True)


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
    profile: Annotated[str, typer.Option(help="quick, paper, or the path of a YAML file.")] = "quick",
    run: Annotated[
        Path | None, typer.Option(help="Run folder; the profile's, or reports/<profile>-<cohort>, by default.")
    ] = None,
    start: Annotated[str | None, typer.Option("--from", help="Run this notebook and those after it again.")] = None,
    only: Annotated[str | None, typer.Option(help="Run this notebook again and leave the others.")] = None,
    force: Annotated[bool, typer.Option(help="Run every notebook again.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Minutes that one cell may take.")] = 120.0,
) -> None:
    """Run the notebooks on a cohort and join them into one offline HTML report; prints its path last."""
    from mflib import report as reports
    from mflib.cohort import CohortError
    from mflib.folds import FoldsError
    from mflib.report.pipeline import PipelineError, Selection, find_step
    from mflib.study.profile import ROOT, ProfileError, read

    try:
        values = read(profile)
        folder = (cohort.resolve() if cohort else ROOT / str(values.get("cohort_folder", ""))).resolve()
        values["cohort_folder"] = str(folder)
        own = (
            ROOT / "reports" / f"{Path(profile).stem}-{folder.name}"
            if cohort
            else str(values.get("run_folder", "reports/run"))
        )
        values["run_folder"] = str(run.resolve() if run else ROOT / own)
        selection = Selection(find_step(start) if start else None, find_step(only) if only else None, force)
        outcome = reports.make(values, Path(profile).stem, selection, round(timeout * 60))
    except (ProfileError, CohortError, FoldsError, PipelineError) as error:
        _fail(str(error))
    if not outcome.succeeded:
        errors.print("Some notebooks did not run to their end; the report shows what there is, and the errors.")
    typer.echo(str(outcome.path))
    raise typer.Exit(0 if outcome.succeeded else 1)


def _fail(message: str) -> None:
    errors.print(message, markup=False, style="red")
    raise typer.Exit(1)
