"""Commands that make a cohort, and look at it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from mflib.cli.terminal import console, fail


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
        fail(str(error))
    console.print(str(out))


def import_(
    source: Annotated[Path, typer.Argument(help="Folder of the scanner's files, or one file; it is only read.")],
    cohort: Annotated[Path, typer.Argument(help="Cohort folder, outside SOURCE; nothing in it is overwritten.")],
    table: Annotated[
        Path | None,
        typer.Option("--map", help="CSV that says which file is which; by default import_map.csv beside SOURCE."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option(help="Without a map: write one to fill in. With one: say what would be imported.")
    ] = False,
    spacing: Annotated[
        str | None,
        typer.Option(help="x,y,z: voxel size in mm (lateral, depth, elevation) of files that state none."),
    ] = None,
    dynamic_range: Annotated[
        float | None, typer.Option(help="Dynamic range of the log compression in dB, where the map states none.")
    ] = None,
) -> None:
    """Read DICOM, NIfTI, NRRD or MHA files into a cohort folder, without anything that names a person."""
    from mflib import importing

    options = {"--map": table, "--spacing": spacing, "--dynamic-range": dynamic_range}
    given = [part for name, value in options.items() if value is not None for part in (name, str(value))]
    command = shlex.join(["mflib", "import", str(source), str(cohort), *given])
    try:
        stated = importing.spacing(spacing) if spacing else None
        path = table or importing.beside(source)
        if path.exists():
            plan = importing.plan(source, path, stated, dynamic_range)
            outcome = importing.run(plan, cohort, dry=dry_run)
            lines, failed = outcome.lines(), bool(outcome.failures)
        elif dry_run:
            lines, failed = importing.template(source, path, cohort, stated).lines(), False
        else:
            fail(f"no map of the files in {path}; {command} --dry-run writes one to fill in")
    except importing.SourceError as error:
        fail(str(error))
    for line in lines:
        console.print(line, markup=False)
    if dry_run:
        console.print(f"then: {command}", markup=False)
    raise typer.Exit(1 if failed else 0)


def annotate(
    cohort: Annotated[Path, typer.Argument(help="The cohort folder; volumes are all that it needs.")],
    annotator: Annotated[str, typer.Option(help="Your initials, 2 to 8 letters.")],
    second: Annotated[
        bool, typer.Option(help="Blinded second pass: shuffled, without the first one's marks or any suggestion.")
    ] = False,
) -> None:
    """Mark reference points, region and quality of each volume in JupyterLab."""
    from mflib.annotation import AnnotationError
    from mflib.annotation.launch import launch

    try:
        launch(cohort, annotator, second=second)
    except AnnotationError as error:
        fail(str(error))


def check(
    cohort: Annotated[Path, typer.Argument(help="The cohort folder; data/README.md says how it is laid out.")],
    report: Annotated[
        Path | None,
        typer.Option(help="Write one offline page: faults, notices, and the quality of every volume with a thumbnail."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Faults, notices and summary as JSON.")] = False,
) -> None:
    """Print every fault of a cohort folder and exit 1, or its summary and exit 0."""
    from mflib import check as checks
    from mflib.report import quality_page

    inspection = checks.inspect(cohort, progress=not as_json)
    if report is not None:
        try:
            quality_page.write(inspection, report, progress=not as_json)
        except OSError as error:
            fail(f"{report}: the page cannot be written ({error.strerror})")
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
        count = len(inspection.faults)
        console.print(f"{count} fault{'s' * (count != 1)}", style="red" if count else "green")
    raise typer.Exit(1 if inspection.faults else 0)
