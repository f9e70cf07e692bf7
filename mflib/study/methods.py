"""What a reader takes away from a run: its methods in sentences with references, and its tables as XLSX and DOCX."""

from __future__ import annotations

import html
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from mflib.base import files, made_by, words
from mflib.base.errors import RunError
from mflib.base.files import ASSETS
from mflib.base.language import LANGUAGES, say, spaced
from mflib.show import shown
from mflib.study.run import Study

COHORT = (
    "{segments} segments of the lumbar multifidus of {patients} patients were analysed; on MRI {infiltrated} of them "
    "had fatty infiltration (grade 1 or above). The study follows Yan et al. [@yan2025]."
)
SYNTHETIC = "All volumes, patients and grades were simulated."
PREPROCESSING = (
    "Grey levels were brought to one scale by two reference points: the spinous process to {bright}, its acoustic "
    "shadow to {dark}."
)
TEXTURE = (
    "In each region of interest six properties of three-dimensional grey-level co-occurrence matrices [@haralick1973] "
    "were computed for {levels} numbers of grey levels, {steps} steps and 13 directions in voxels of {voxels}, with "
    "two Nakagami parameters [@shankar2000] and five first-order statistics. Repeatability under changes of gain, "
    "region and points is the intraclass correlation ICC(2,1) [@shrout1979]."
)
FOREST = (
    "A random forest [@breiman2001] of {trees} trees had 13 features; grey levels, step and direction were chosen "
    "inside each training part."
)
NETWORK = (
    "A three-dimensional residual network [@he2016; @chen2019] of {depth} saw the region, {gain}, in an input "
    "of {size} voxels; it started from {start} and was trained for {epochs} epochs by stochastic gradient descent "
    "(batch {batch}, learning rate {rate:g}). Its attention was looked at with Grad-CAM [@selvaraju2017]."
)
FROZEN = (
    "A three-dimensional residual network [@he2016; @chen2019] of {depth} was kept as released, and a logistic "
    "regression fitted to its features of the region, {gain}, in an input of {size} voxels."
)
FOLDS = {
    "patient": "All models were judged by {folds}-fold cross-validation in which a patient's segments stay together.",
    "segment": "All models were judged by {folds}-fold cross-validation of segments, so patients stand on both sides.",
}
FROZEN_THRESHOLDS = (
    "In each fold a fifth of the training part set the threshold (Youden's index [@youden1950]) and the scale of the "
    "scores [@platt1999]; the test part was scored once."
)
STATISTICS = (
    "AUCs are means of the folds; their intervals and the paired difference of two models rest on influence curves "
    "[@ledell2015] summed over patients. Pooled AUCs and other metrics have intervals with patients as clusters "
    "[@obuchowski1997]; DeLong's test [@delong1988] stands beside, as in the study that is followed. Usefulness was "
    "judged by decision curves [@vickers2006]. P values are two-sided and unadjusted."
)
SOFTWARE = (
    "Computed with mflib {mflib} [@mflib] on Python {python}, numpy {numpy}, scikit-learn {scikit-learn} and torch "
    "{torch}; seed {seed}."
)
# What was planned; of five folds of patients, with normalised gain.
DESIGN = (
    "Objective: with MRI grades as the gold standard, to find out whether 3D ultrasound tells infiltrated from "
    "healthy lumbar multifidus, and whether a 3D convolutional network does it better than a random forest on "
    "texture. Participants: patients aged 18 to 80 years with a BMI below 28 kg/m² and no other reason of exclusion "
    "at screening. Methods: 3D ultrasound volumes are recorded at four lumbar levels on both sides; two readers grade "
    "fatty infiltration on MRI, and an adjudicator decides where they disagree. The spinous process and its acoustic "
    "shadow serve as two reference points for gain normalisation. The random forest learns from texture in the region "
    "of interest, the 3D convolutional network from the region itself. Both are judged by five-fold cross-validation "
    "by patient: each threshold is frozen on the fold's validation part before its test part is scored. Statistics: "
    "AUCs are means of the folds, with intervals and comparisons that take patients as clusters; DeLong's test stands "
    "beside."
)
CITED = re.compile(r" ?\[((?:@\w+(?:; )?)+)\]")


def sentences(study: Study) -> str:
    """The methods of a run, a line for each of its steps, references as [@key]."""
    profile, segments, cohort = study.profile, study.cohort.segments, study.cohort
    network, texture = profile.network, profile.texture
    seen = {
        "depth": "one block a stage" if network.depth == "small" else f"depth {network.depth}",
        "gain": f"{network.gain} for gain",
        "size": " x ".join(map(str, network.size)),
    }
    start = "random weights" if network.pretrained == "none" else "MedicalNet's weights"
    trained = {"start": start, "epochs": network.epochs, "batch": network.batch, "rate": network.learning_rate}
    voxels = {"coarsest": "one size, the coarsest of the cohort", "as-recorded": "the size as recorded"}
    counts = {"segments": len(segments), "patients": segments["participant_id"].nunique()}
    versions = {"python": platform.python_version()}
    versions |= made_by.versions("mflib", "numpy", "scikit-learn", "torch")
    return "\n".join([
        COHORT.format(**counts, infiltrated=int(study.labels.sum())),
        *[SYNTHETIC] * cohort.synthetic,
        PREPROCESSING.format(bright=profile.preprocessing.bright, dark=profile.preprocessing.dark),
        TEXTURE.format(
            levels=len(texture.levels),
            steps=len(texture.steps),
            voxels=voxels.get(str(texture.voxel_mm), f"{texture.voxel_mm} mm"),
        ),
        FOREST.format(trees=profile.forest.trees),
        FROZEN.format(**seen) if network.frozen else NETWORK.format(**seen, **trained),
        FOLDS[profile.split].format(folds=profile.n_folds),
        FROZEN_THRESHOLDS,
        STATISTICS,
        SOFTWARE.format(seed=profile.seed, **versions),
    ])  # fmt: skip


def design(study: Study) -> str:
    """The abstract of the design; empty for a run of another one."""
    profile = study.profile
    return DESIGN if (profile.split, profile.n_folds, profile.network.gain) == ("patient", 5, "normalised") else ""


def forms(text: str) -> dict[str, Any]:
    """The text with numbers and its list of references, and what a manuscript takes: Markdown, LaTeX and BibTeX."""
    text = spaced(text.replace("\n", " "))
    told, listed = numbered(text)
    markdown = told + "\n\n" + "\n".join(listed) + "\n"
    taken = {"Markdown": markdown, "LaTeX": latex(text) + "\n", "BibTeX": bibtex(cited(text))}
    return {"text": told, "references": [line.partition(" ")[2] for line in listed], "taken": taken}


def references() -> dict[str, dict[str, Any]]:
    """Everything that can be cited, by key."""
    return dict(yaml.safe_load((ASSETS / "references.yaml").read_text(encoding="utf-8")))


def glossary(to: str = "en") -> dict[str, str]:
    """The terms of the report and what they mean; those in another language with the English ones behind them."""
    known = dict(yaml.safe_load((ASSETS / "glossary.yaml").read_text(encoding="utf-8")))
    told = {term: say(term, to) for term in known}
    return {
        term if said == term else f"{said}\uff08{term}\uff09": say(known[term], to) for term, said in told.items()
    }  # fmt: skip


# Where a word is a name, a number's head or a picture's, it is left alone.
_LEFT_ALONE = "code|pre|figure|math|table|summary|h[1-6]|a"
_TOKENS = re.compile(r"(<(?:script|style)\b.*?</(?:script|style)>|<[^>]*>)", re.DOTALL)


def explained(page: str, to: str = "en") -> str:
    """HTML in which the first of each abbreviation of the glossary says what it means."""
    waiting = {term: say(told, to) for term, told in glossary().items() if re.fullmatch(r"[A-Z][\w-]+", term)}
    terms = re.compile(rf"\b({'|'.join(waiting)})\b")

    def explain(found: re.Match[str]) -> str:
        meaning = waiting.pop(found[0], "")
        return f'<abbr title="{html.escape(meaning)}">{found[0]}</abbr>' if meaning else found[0]

    tokens, inside = _TOKENS.split(page), 0
    for n, token in enumerate(tokens):
        if tag := re.match(rf"<(/?)(?:{_LEFT_ALONE})\b", token):
            inside += -1 if tag[1] else 1
        elif not inside and not token.startswith("<"):
            tokens[n] = terms.sub(explain, token)
    return "".join(tokens)


def cited(text: str) -> list[str]:
    """Keys in the order in which they are cited first."""
    return list(dict.fromkeys(re.findall(r"@(\w+)", " ".join(CITED.findall(text)))))


def numbered(text: str) -> tuple[str, list[str]]:
    """The text with numbers in brackets, and the list that they lead to."""
    keys, known = cited(text), references()
    numbers = {key: str(n) for n, key in enumerate(keys, 1)}

    def bracket(found: re.Match[str]) -> str:
        return " [" + ", ".join(numbers[key] for key in re.findall(r"@(\w+)", found[1])) + "]"

    return CITED.sub(bracket, text), [f"{numbers[key]}. {printed(known[key])}" for key in keys]


def printed(entry: Mapping[str, Any]) -> str:
    """A reference as it is printed."""
    place = ":".join(str(entry[name]) for name in ("volume", "pages") if name in entry)
    journal = f"{entry['journal']} " if "journal" in entry else ""
    text = f"{entry['author'].rstrip('.')}. {entry['title']}. {journal}{entry['year']}{';' if place else ''}{place}."
    return text + (f" doi:{entry['doi']}" if "doi" in entry else "")


def latex(text: str) -> str:
    """The text for a LaTeX manuscript, which cites the keys of `bibtex`."""
    parts = CITED.split(re.sub(r"([%&#_])", r"\\\1", text))
    cited = [
        "~\\cite{" + ",".join(re.findall(r"@(\w+)", part)) + "}" if n % 2 else part for n, part in enumerate(parts)
    ]
    return "".join(cited)


def bibtex(keys: Sequence[str]) -> str:
    """The references as BibTeX entries."""
    known, entries = references(), []
    for key in keys:
        entry = dict(known[key])
        kind, names = entry.pop("type"), entry["author"].removesuffix(".").split(", ")
        entry["author"] = " and ".join(re.sub(r" ([A-Z]+)$", r", \1", name) for name in names).replace(
            "et al", "others"
        )
        if kind in ("inproceedings", "incollection"):
            entry["booktitle"] = entry.pop("journal")
        fields = ",\n".join(f"  {name} = {{{value}}}" for name, value in entry.items())
        entries.append(f"@{kind}{{{key},\n{fields}\n}}")
    return "\n\n".join(entries) + "\n"


def export(page: Path) -> list[Path]:
    """Write all tables of a report beside it: ``tables.xlsx`` with every digit, ``tables.docx`` as the page shows them.

    Parameters
    ----------
    page : ``report.html`` in its run folder; tables have its order and captions

    Returns
    -------
    list of Path
        The two files.

    Raises
    ------
    RunError
        No table stands in the report yet.
    """
    # Of a page in two languages, the first.
    text = page.read_text(encoding="utf-8").partition("<template lang")[0]
    to = next((to for to, lang in LANGUAGES.items() if f'<html lang="{lang}">' in text), "en")
    found = re.findall(r'<table id="table-([\w-]+)"><caption>(.*?)</caption>', text)
    tables = [
        (name, html.unescape(caption), pd.read_csv(path))
        for name, caption in dict(found).items()
        if (path := page.parent / "tables" / f"{name}.csv").exists()
    ]
    if not tables:
        raise RunError(f"found no table in {page}, expected one at least to export; run what failed again")
    paths = [page.parent / "tables.xlsx", page.parent / "tables.docx"]
    for path, write in zip(paths, (_write_sheets, _write_document), strict=True):
        with files.replacing(path) as partial:
            write(tables, to, partial)
    return paths


Tables = Sequence[tuple[str, str, pd.DataFrame]]


def _write_sheets(tables: Tables, to: str, path: Path) -> None:
    """A sheet for each table: its caption, its heads, its rows."""
    with pd.ExcelWriter(path, engine="openpyxl") as writer:
        for name, caption, table in tables:
            sheet = name[:31]  # longer ones no spreadsheet takes
            table.rename(columns=lambda name: say(words.heading(name), to)).to_excel(
                writer, sheet_name=sheet, startrow=1, index=False
            )
            written = writer.sheets[sheet]
            written["A1"], written.freeze_panes = caption, "A3"


def _write_document(tables: Tables, to: str, path: Path) -> None:
    """The tables below each other on pages that lie."""
    import docx
    from docx.enum.section import WD_ORIENT
    from docx.shared import Pt

    document = docx.Document()
    page = document.sections[0]
    page.orientation, page.page_width, page.page_height = WD_ORIENT.LANDSCAPE, page.page_height, page.page_width
    document.styles["Normal"].font.size = Pt(8)
    for _, caption, table in tables:
        document.add_paragraph(caption).paragraph_format.keep_with_next = True
        shows = shown.readable(table)
        drawn = document.add_table(len(shows) + 1, shows.shape[1], style="Table Grid")
        for row, texts in zip(drawn.rows, [list(shows), *shows.to_numpy().tolist()], strict=True):
            for cell, text in zip(row.cells, texts, strict=True):
                cell.text = say(text, to)
    document.save(str(path))
