"""Commands that run the study, or a part of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mflib.cli.terminal import errors, fail

SCHEDULER = "Address of a Dask scheduler, such as tcp://host:8786, whose workers do the heavy work."
STEP = (
    "Its number or its name: 00 published_figures, 01 cohort, 02 texture, 03 random_forest, 04 dcnn, 05 comparison, "
    "06 pitfalls, 07 external."
)


def report(
    cohort: Annotated[Path | None, typer.Option(help="Cohort folder instead of the profile's.")] = None,
    external: Annotated[
        Path | None, typer.Option(help="A second cohort that the models only predict and never learn from.")
    ] = None,
    profile: Annotated[str, typer.Option(help="quick, paper, transfer, or the path of a YAML file.")] = "quick",
    run: Annotated[
        Path | None,
        typer.Option(help="Run folder. By default reports/PROFILE-COHORT, or without --cohort the profile's own."),
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help=f"Run this notebook and those after it again. {STEP}")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Run this notebook again and leave the others. Named as for --from.")
    ] = None,
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
        values = of_run(profile, cohort=cohort, run=run, scheduler=scheduler, external=external)
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
        fail(str(error))
    if not outcome.succeeded:
        errors.print("Some notebooks did not run to their end; the report shows what there is, and the errors.")
    typer.echo(str(outcome.path))
    raise typer.Exit(0 if outcome.succeeded else 1)


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
        fail(f"--out is {out.name}, expected a name that ends in .csv or .parquet")
    whole = target.is_dir()
    misplaced = (
        {"--roi": roi, "--bone": bone, "--shadow": shadow} if whole else {"--run": run, "--scheduler": scheduler}
    )
    if any(misplaced.values()):
        names = ", ".join(name for name, value in misplaced.items() if value)
        fail(f"found {names}, which is for {'one volume' if whole else 'a cohort'}, and {target.name}, which is not")
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
        fail(str(error))
    if path is None:
        for name, value in table.iloc[0].items():
            typer.echo(f"{name}\t{value}")
    else:
        typer.echo(str(path))


def predict(
    run: Annotated[Path, typer.Argument(help="Run folder that mflib report has made.")],
    volume: Annotated[
        list[Path],
        typer.Argument(
            help="Volumes named as in a cohort, or a cohort folder. Each must be annotated, as with mflib annotate: "
            "two reference points and the region of interest."
        ),
    ],
    annotations: Annotated[
        Path | None,
        typer.Option(
            help="Table as refpoints_roi.tsv; a column volume finds volumes of other names. By default the cohort's."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="FILE.csv or FILE.json; the terminal, by default.")] = None,
    html: Annotated[Path | None, typer.Option(help="Folder for one offline page of each patient.")] = None,
) -> None:
    """Hold the trained models of a run against new, annotated volumes, for research only; they learn nothing from them.

    A volume that cannot be assessed is named at the end, and the others are done all the same; the command then fails.
    """
    from mflib import predict as predicting
    from mflib.predict import page

    if out is not None and out.suffix not in (".csv", ".json"):
        fail(f"--out is {out.name}, expected a name that ends in .csv or .json")
    try:
        models = predicting.load(run)
        assessments, failures = predicting.assess_all(models, volume, annotations)
        pages = page.write(models, assessments, html) if html else []
        if out is not None and assessments:
            predicting.write(predicting.table(assessments), out)
    except (predicting.PredictError, OSError) as error:
        fail(str(error))
    if out is None and html is None and assessments:
        typer.echo(predicting.text(assessments))
    for path in [*pages, *([out] if out and assessments else [])]:
        typer.echo(str(path))
    if failures:
        fail(predicting.failed(failures, len(failures) + len(assessments)))


def _voxels(name: str, text: str, count: int) -> Any:
    """Whole numbers separated by commas."""
    parts = text.split(",")
    if len(parts) != count or not all(part.strip().lstrip("-").isdigit() for part in parts):
        fail(f"--{name} is {text!r}, expected {count} whole numbers separated by commas")
    return tuple(int(part) for part in parts)
