"""The command ``mflib``: a thin skin over the package; what a command needs is imported when it runs."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shlex
import sys
import tempfile
import traceback
import warnings
from collections.abc import Collection, Iterator
from functools import partialmethod
from io import TextIOWrapper
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup
from typer.exceptions import TyperException

from mflib.base import files
from mflib.base.errors import BusyError, InputError, RunError, explained, listed
from mflib.base.language import LANGUAGE as SPOKEN
from mflib.base.language import LANGUAGES, language, say, tell

# Help that takes more room than its option has.
STEP = (
    "Its number or its name: 01 cohort, 02 texture, 03 random_forest, 04 dcnn, 05 comparison, 06 external, "
    "07 pitfalls, 08 published_figures."
)
MAP = "CSV that says which file is which; by default import_map_NAME.csv beside SOURCE, with SOURCE's name."
EXTERNAL = "A second cohort that the models only predict and never learn from."
VOLUMES = (
    "Volumes named as in a cohort, or a cohort folder. Each must be annotated, as with mflib annotate: two reference "
    "points and the region of interest."
)
POINTS = "Table as refpoints_roi.tsv; a column volume finds volumes of other names. By default the cohort's."
PREDICTIONS = (
    "CSV files of any models with the columns participant_id, level, lat, model, split, repeat, fold, y_true, score, "
    "threshold."
)
FOLDS = (
    "CSV with fold and any of accuracy_pct, ppv_pct, npv_pct, sensitivity_pct, specificity_pct (percent) and auc, "
    "with the decimals that are printed."
)
ENCODING = "Of tables that are no UTF-8, where their bytes do not tell it, such as gb18030, big5 or cp1252."
SETTING = "A setting that is to be otherwise, such as forest.trees=100 or split=segment; as often as wanted."
SCHEDULER = "Address of a Dask scheduler, such as tcp://host:8786, whose workers do the heavy work."

LANGUAGE = "en or zh, in place of the environment's."
PAGE = "en, zh or both: of the page, and of what is said here; in place of the profile's or the environment's."

NOT_WHOLE = "Some notebooks did not run to their end; the report shows what there is, and the errors."

# Typer's own words of help and errors, by their names there.
TYPER = (
    "ARGUMENTS_PANEL_TITLE", "OPTIONS_PANEL_TITLE", "COMMANDS_PANEL_TITLE", "ERRORS_PANEL_TITLE", "DEFAULT_STRING",
    "REQUIRED_LONG_STRING", "RICH_HELP", "ABORTED_TEXT",
)  # fmt: skip

# Options that commands share.
Language = Annotated[str, typer.Option(help=LANGUAGE, callback=lambda given: _spoken(given, LANGUAGES), is_eager=True)]
PageLanguage = Annotated[
    str, typer.Option(help=PAGE, callback=lambda given: _spoken(given, [*LANGUAGES, "both"]), is_eager=True)
]
Profile = Annotated[str, typer.Option(help="quick, full, transfer, paper, or the path of a YAML file.")]
Scheduler = Annotated[str, typer.Option(help=SCHEDULER)]
Changes = Annotated[list[str], typer.Option("--set", help=SETTING)]
Encoding = Annotated[str, typer.Option(help=ENCODING, callback=lambda given: _stated(given))]
AsJson = Annotated[bool, typer.Option("--json", help="Everything as JSON.")]


class Group(TyperGroup):
    """All commands; what is expected to go wrong in one of them is one message and exit 1."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Make terminals show what they can, and take --debug wherever it stands."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="replace")
        _own_style()
        warnings.formatwarning = lambda message, *_, **__: say(f"warning: {message}\n")
        ctx.obj = args
        # Help is said before an option is read.
        for name, to in pairwise(args):
            if name == "--language" and to in LANGUAGES:
                os.environ[SPOKEN] = to
        for command in [self, *self.commands.values()]:
            command.help, command.options_metavar = said(command.help), say(str(command.options_metavar))
            for option in command.get_params(ctx):
                option.help = said(option.help)  # type: ignore[attr-defined]
        if language() != "en":
            self.subcommand_metavar = say(self.subcommand_metavar)
            _help(type(ctx).formatter_class)
        with _objecting():
            return super().parse_args(ctx, sorted(args, key="--debug".__ne__))

    def invoke(self, ctx: Any) -> Any:
        """Run the command that is named."""
        try:
            files.check_names(*ctx.obj, Path.cwd(), tempfile.gettempdir())
            with _objecting():
                return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except KeyboardInterrupt:
            fail("interrupted: what is finished stays, and the same command goes on", 130)
        except (InputError, BusyError, RunError, OSError) as error:
            if ctx.params["debug"]:
                traceback.print_exc()
            fail(explained(error) if isinstance(error, OSError) else str(error))


app = typer.Typer(cls=Group, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _help(usage: Any) -> None:
    """Let typer's help be in the reader's language, the usage with its first word, too."""
    # It takes a tenth of a second to import, which readers of English need not wait.
    from typer import rich_utils

    for name in TYPER:
        setattr(rich_utils, name, say(getattr(rich_utils, name)))
    usage.write_usage = partialmethod(usage.write_usage, prefix=say("Usage: "))
    mark = rich_utils.highlighter

    def folding(text: Any) -> Text:
        # Chinese has no blanks at which a line ends, and would be cut off.
        marked = mark(text)
        marked.overflow = "fold"
        return marked

    rich_utils.highlighter = folding  # type: ignore[assignment]


@contextlib.contextmanager
def _objecting() -> Iterator[None]:
    """Let typer say in the reader's language what it has against a command."""
    try:
        yield
    except TyperException as error:
        told = say(error.format_message())
        error.format_message = lambda: told  # type: ignore[method-assign]
        raise


def _own_style() -> None:
    """Let figures be the same whatever the user has set for figures of his own."""
    os.environ.pop("MPLBACKEND", None)
    style = Path(importlib.util.find_spec("matplotlib").origin).with_name("mpl-data")  # type: ignore
    os.environ["MATPLOTLIBRC"] = str(style / "matplotlibrc")
    # That of the current folder would go before; importing takes a while, which others need not wait.
    if Path("matplotlibrc").exists():
        with contextlib.chdir(style):
            importlib.import_module("matplotlib")


def _stated(encoding: str) -> str:
    """State the encoding for this process and those that it starts."""
    if encoding:
        from mflib.base.encodings import STATED

        try:
            "".encode(encoding)
        except LookupError:
            fail(f"--encoding is {encoding!r}, expected one that Python knows, such as gb18030, big5 or cp1252")
        os.environ[STATED] = encoding
    return encoding


def _spoken(given: str, known: Collection[str]) -> str:
    """A language that is known; it is stated already."""
    if given and given not in known:
        fail(f"--language is {given!r}, expected one of {', '.join(known)}")
    return given


def said(text: object) -> str:
    """Lines of a text, those of a paragraph together, in the reader's language."""
    paragraphs = str(text or "").split("\n\n")
    return "\n\n".join(say(" ".join(paragraph.split())) for paragraph in paragraphs)


def fail(message: str, status: int = 1) -> NoReturn:
    """Say why on the error stream, and exit."""
    typer.secho(say(message), err=True, fg="red")
    raise typer.Exit(status)


class _Console(Console):
    """A terminal that is written to in the reader's language."""

    def print(self, *shown: Any, **how: Any) -> None:
        """Print texts and tables."""
        for table in shown:
            if isinstance(table, Table):
                table.title, table.caption = (
                    str((text and say(str(text))) or "") for text in (table.title, table.caption)
                )
                for column in table.columns:
                    column.header = say(str(column.header))
                    column._cells = [say(c) if isinstance(c, str) else Text(say(str(c))) for c in column.cells]
        super().print(*(say(thing) if isinstance(thing, str) else thing for thing in shown), **how)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show where in the code an error arose.")] = False,
) -> None:
    """The multifidus study: a cohort simulated or imported, annotated and checked; the report; new patients."""


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to write the cohort to; goes on where an earlier call stopped.")],
    profile: Annotated[str, typer.Option(help="quick: 128 x 128 x 48 voxels; paper: 256 x 256 x 96.")] = "quick",
    patients: Annotated[int, typer.Option(min=1, max=10_000, help="Analysed patients; a few more are excluded.")] = 46,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same cohort.")] = 20,
    language: Language = "",
) -> None:
    """Simulate a synthetic cohort with known truth."""
    from mflib.data import phantom as simulator

    simulator.write_cohort(out, profile=profile, patients=patients, seed=seed)
    typer.echo(str(out))


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="Folder of the scanner's files, or one file; it is only read.")],
    cohort: Annotated[Path, typer.Argument(help="Cohort folder, outside SOURCE; nothing in it is overwritten.")],
    table: Annotated[Path | None, typer.Option("--map", help=MAP)] = None,
    dry_run: Annotated[bool, typer.Option(help="Write a map to fill in; with one, say what it would import.")] = False,
    spacing: Annotated[
        str | None, typer.Option(help="x,y,z: voxel size in mm (lateral, depth, elevation) of files that state none.")
    ] = None,
    dynamic_range: Annotated[
        float | None, typer.Option(help="Dynamic range of the log compression in dB, where the map states none.")
    ] = None,
    encoding: Encoding = "",
    language: Language = "",
) -> None:
    """Read DICOM, NIfTI, NRRD or MHA files into a cohort folder, without anything that names a person."""
    from mflib.data import intake

    options = {"--map": table, "--spacing": spacing, "--dynamic-range": dynamic_range}
    given = [part for name, value in options.items() if value is not None for part in (name, str(value))]
    command = shlex.join(["mflib", "import", str(source), str(cohort), *given])
    stated = intake.spacing(spacing) if spacing else None
    path = table or intake.beside(source)
    if path.exists():
        plan = intake.plan(source, path, stated, dynamic_range)
        outcome = intake.run(plan, cohort, dry=dry_run)
        said = [f"notice: {path.name}: {notice}" for notice in plan.notices]
        lines, failed = [*said, *outcome.lines()], bool(outcome.failures)
    elif dry_run:
        lines, failed = intake.template(source, path, cohort, stated), False
    else:
        fail(f"no map of the files in {path}; {command} --dry-run writes one to fill in")
    for line in lines:
        tell(line)
    if dry_run:
        tell(f"then: {command}")
    raise typer.Exit(1 if failed else 0)


@app.command()
def annotate(
    cohort: Annotated[Path, typer.Argument(help="The cohort folder; volumes are all that it needs.")],
    annotator: Annotated[str, typer.Option(help="Your initials, 2 to 8 letters.")],
    second: Annotated[
        bool, typer.Option(help="Blinded second pass: shuffled, without the first one's marks or any suggestion.")
    ] = False,
    language: Language = "",
) -> None:
    """Mark reference points, region and quality of each volume in JupyterLab."""
    from mflib.data.annotation import launch

    launch(cohort, annotator, second=second)


@app.command()
def check(
    cohort: Annotated[Path, typer.Argument(help="The cohort folder; data/README.md says how it is laid out.")],
    report: Annotated[Path | None, typer.Option(help="Write one offline page, with a picture of each volume.")] = None,
    as_json: AsJson = False,
    whole: Annotated[bool, typer.Option("--all", help="Every fault, not the first three of each kind.")] = False,
    encoding: Encoding = "",
    language: Language = "",
) -> None:
    """Print the faults of a cohort folder and exit 1, or its summary and exit 0."""
    from mflib.data import check as checks

    inspection = checks.inspect(cohort, progress=not as_json)
    if report is not None:
        from mflib.study.page import write_check

        write_check(inspection, report)
    if as_json:
        content = {"ok": not inspection.faults, "faults": [vars(fault) for fault in inspection.faults]}
        content |= {"notices": inspection.notices, "summary": inspection.summary()}
        typer.echo(json.dumps(content, indent=2))
    else:
        told = [*listed(inspection.faults, whole=whole), *(f"notice: {notice}" for notice in inspection.notices)]
        for line in told:
            tell(line)
        for name, value in inspection.summary().items():
            typer.echo(say("name: {}").format(say(value)) if name == "name" else say(f"{name}: {value}"))
        count = len(inspection.faults)
        typer.secho(say("1 fault" if count == 1 else f"{count} faults"), fg="red" if count else "green")
    raise typer.Exit(1 if inspection.faults else 0)


@app.command()
def report(
    cohort: Annotated[Path | None, typer.Option(help="Cohort folder instead of the profile's.")] = None,
    external: Annotated[Path | None, typer.Option(help=EXTERNAL)] = None,
    profile: Profile = "quick",
    run: Annotated[Path | None, typer.Option(help="Run folder. By default reports/COHORT-PROFILE.")] = None,
    start: Annotated[str, typer.Option("--from", help=f"Run this notebook and those after it again. {STEP}")] = "",
    only: Annotated[str, typer.Option(help="Run this notebook again and leave the others. Named as for --from.")] = "",
    force: Annotated[bool, typer.Option(help="Run every notebook again.")] = False,
    export: Annotated[bool, typer.Option("--export", help="Also all tables as tables.xlsx and tables.docx.")] = False,
    scheduler: Scheduler = "",
    setting: Changes = [],  # noqa: B006  typer copies it
    timeout: Annotated[float, typer.Option(min=0.1, help="Minutes that one cell may take.")] = 1440.0,
    encoding: Encoding = "",
    language: PageLanguage = "",
) -> None:
    """Run the notebooks on a cohort and join them into one offline HTML report; prints its path last."""
    from mflib.study import methods
    from mflib.study import report as reports
    from mflib.study.pipeline import Selection, find_step

    if export and importlib.util.find_spec("docx") is None:
        fail("--export needs python-docx: pip install 'mflib[export]'")
    changes = _changes(setting, external=_path(external), scheduler=scheduler, language=language)
    selection = Selection(find_step(start) if start else None, find_step(only) if only else None, force)
    page, whole = reports.make(_profile(profile), _path(cohort), _path(run), changes, selection, round(timeout * 60))
    if not whole:
        typer.echo(say(NOT_WHOLE), err=True)
    if export:
        typer.echo("\n".join(map(str, methods.export(page))))
    typer.echo(str(page))
    raise typer.Exit(0 if whole else 1)


@app.command()
def texture(
    target: Annotated[Path, typer.Argument(help="A cohort folder, or one NIfTI, NRRD or MHA volume.")],
    out: Annotated[Path | None, typer.Option(help="FILE.csv or .parquet; else the run folder or the terminal.")] = None,
    roi: Annotated[str | None, typer.Option(help="Region of a volume in voxels from 0: i,j,k,ni,nj,nk.")] = None,
    bone: Annotated[str | None, typer.Option(help="Voxel on the spinous process of a volume: i,j,k.")] = None,
    shadow: Annotated[str | None, typer.Option(help="Voxel in its shadow; both points normalise the gain.")] = None,
    profile: Profile = "quick",
    run: Annotated[Path | None, typer.Option(help="Run folder that keeps a cohort's numbers; as for report.")] = None,
    scheduler: Scheduler = "",
    setting: Changes = [],  # noqa: B006  typer copies it
    encoding: Encoding = "",
    language: Language = "",
) -> None:
    """Measure the texture of a cohort, or of one volume: as recorded, or gain-normalised with two points."""
    from mflib.base.files import locked
    from mflib.models.texture import bank
    from mflib.study.run import Study, write_table

    if out is not None and out.suffix not in (".csv", ".parquet"):
        fail(f"--out is {out.name}, expected a name that ends in .csv or .parquet")
    whole = target.is_dir()
    of_volume, of_cohort = {"--roi": roi, "--bone": bone, "--shadow": shadow}, {"--run": run, "--scheduler": scheduler}
    if misplaced := [name for name, value in (of_volume if whole else of_cohort).items() if value]:
        kind = "one volume" if whole else "a cohort"
        fail(f"found {', '.join(misplaced)}, which is for {kind}, and {target.name}, which is not")
    changes = _changes(setting, scheduler=scheduler)
    study = Study.open(_profile(profile), _path(target) if whole else "", _path(run), changes)
    if whole:
        out = out or study.artifacts / "texture.parquet"
        with locked(study.folder):
            write_table(study.texture, out)
    else:
        marks = {"roi": (roi, 6), "bone": (bone, 3), "shadow": (shadow, 3)}
        given = {name: _voxels(name, text, count) for name, (text, count) in marks.items() if text}
        table = bank.measure_file(target, study.profile.preprocessing, study.profile.texture, **given)
        if out is None:
            typer.echo("\n".join(f"{name}\t{value}" for name, value in table.iloc[0].items()))
            return
        write_table(table, out)
    typer.echo(str(out))


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Run folder that mflib report has made.")],
    volume: Annotated[list[Path], typer.Argument(help=VOLUMES)],
    annotations: Annotated[Path | None, typer.Option(help=POINTS)] = None,
    out: Annotated[Path | None, typer.Option(help="FILE.csv or FILE.json; the terminal, by default.")] = None,
    html: Annotated[Path | None, typer.Option(help="Folder for one offline page of each patient.")] = None,
    encoding: Encoding = "",
    language: Language = "",
) -> None:
    """Hold the trained models of a run against new, annotated volumes, for research only; they learn nothing from them.

    A volume that cannot be assessed is named at the end, and the others are done all the same; the command then fails.
    """
    from mflib.study import patient, volumes
    from mflib.study import predict as predicting

    if out is not None and out.suffix not in (".csv", ".json"):
        fail(f"--out is {out.name}, expected a name that ends in .csv or .json")
    models = predicting.load(run)
    assessments, failures = volumes.assess_all(models, volume, annotations)
    pages = patient.write(models, assessments, html) if html else []
    if out is not None and assessments:
        volumes.write(volumes.table(assessments), out)
    if out is None and html is None and assessments:
        tell(volumes.text(assessments))
    for path in [*pages, *([out] if out and assessments else [])]:
        typer.echo(str(path))
    if failures:
        fail(volumes.failed(failures, len(failures) + len(assessments)))


def _changes(given: list[str], **named: str) -> dict[str, Any]:
    """Settings from texts such as ``forest.trees=100``, nested and with values as in YAML, and from other options."""
    from mflib.base.settings import from_yaml, merged

    changes: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not all(name.split(".")):
            fail(f"--set is {text!r}, expected NAME=VALUE such as forest.trees=100")
        changes = merged(changes, {name: from_yaml(value, f"--set {name}")})
    return changes | {name: value for name, value in named.items() if value}


def _path(path: Path | None) -> str:
    return str(path.resolve()) if path else ""


def _profile(name: str) -> str:
    """A profile's file by its whole path, since notebooks run in another folder; a name as it is."""
    return str(Path(name).resolve()) if name.endswith((".yaml", ".yml")) else name


def _voxels(name: str, text: str, count: int) -> Any:
    """Whole numbers separated by commas."""
    parts = text.split(",")
    if len(parts) != count or not all(re.fullmatch(r" *-?[0-9]{1,9} *", part) for part in parts):
        fail(f"--{name} is {text!r}, expected {count} whole numbers separated by commas")
    return tuple(int(part) for part in parts)


@app.command()
def compare(
    predictions: Annotated[list[Path], typer.Argument(help=PREDICTIONS)],
    out: Annotated[Path | None, typer.Option(help="Folder for every table (CSV) and figure (SVG, PNG).")] = None,
    as_json: AsJson = False,
    encoding: Encoding = "",
    language: Language = "",
) -> None:
    """Compare anybody's models on the same segments: areas, decisions, calibration, with patients as clusters."""
    from mflib.study import compare as comparing

    comparison = comparing.run(*comparing.read(predictions))
    written = comparing.write(comparison, out) if out else []
    if as_json:
        typer.echo(comparing.as_json(comparison))
    elif out is None:
        comparing.show(comparison, _Console(highlight=False))
    else:
        typer.echo("\n".join(map(str, written)))


@app.command()
def audit(
    folds: Annotated[Path, typer.Argument(help=FOLDS)],
    positives: Annotated[int, typer.Option(help="Positive cases of the whole cohort.")],
    negatives: Annotated[int, typer.Option(help="Negative cases of the whole cohort.")],
    segments_per_patient: Annotated[
        int | None, typer.Option(help="Cases that each patient brings; folds of whole patients are then looked for.")
    ] = None,
    summary: Annotated[
        Path | None, typer.Option(help="CSV: metric, mean, sd, the printed values over the folds.")
    ] = None,
    as_json: AsJson = False,
    encoding: Encoding = "",
    language: Language = "",
) -> None:
    """Say what follows from a published table of folds and what cannot be; findings are no failure, so it exits 0."""
    from mflib.stats import published

    table = published.read_folds(folds)
    printed = published.read_summary(summary, table) if summary else None
    found = published.examine(table, positives, negatives, segments_per_patient=segments_per_patient, summary=printed)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2))
    else:
        published.show(found, _Console(highlight=False))


@app.command()
def lab(
    cohort: Annotated[Path | None, typer.Option(help="Cohort folder of the notebooks that name none.")] = None,
    language: Language = "",
) -> None:
    """Open the notebooks in JupyterLab at the start page; in another language as copies, notebooks-zh."""
    from mflib.study import start

    start.launch(_path(cohort))


@app.command()
def exercises(
    folder: Annotated[Path, typer.Argument(help="Folder to write the notebooks to.")],
    force: Annotated[bool, typer.Option(help="Replace notebooks that are there already.")] = False,
    language: Language = "",
) -> None:
    """Write the notebooks for students, without answers and solutions; and with them, as NAME_solutions, for you."""
    from mflib.study.page import write_exercises

    for path in write_exercises(folder, force=force):
        typer.echo(str(path))
