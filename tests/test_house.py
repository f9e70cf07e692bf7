"""The house stays as DESIGN lays it down: floors, dependencies, notebooks, docstrings."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from statistics import median

import nbformat
import pytest
import yaml

from mflib.study.pipeline import NOTEBOOKS, STEPS
from mflib.study.profile import choose, read

# What Python has on Unix only: modules, and names of `os` and `signal`.
UNIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
UNIX_NAMES = {
    "SIGALRM", "SIGHUP", "SIGKILL", "chown", "fork", "getloadavg", "getpgid", "getuid", "killpg", "mkfifo", "nice",
    "sched_getaffinity", "setsid", "statvfs", "sysconf", "uname",
}  # fmt: skip
# A wing imports only from wings below it; `cli` and `__main__` stand on top of all.
WINGS = ("base", "stats", "data", "models", "show", "study", "cli", "__main__")


def modules(package: Path) -> dict[str, Path]:
    """Every module by its dotted name inside mflib; the package itself imports nothing."""
    names = {}
    for path in package.rglob("*.py"):
        name = ".".join(path.relative_to(package).with_suffix("").parts).removesuffix("__init__").rstrip(".")
        if name:
            names[name] = path
    return names


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of mflib that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "mflib":
            base = node.module.removeprefix("mflib").lstrip(".")
            full = [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
            found |= {name if name in known else base for name in full}
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("mflib.") for a in node.names if a.name.startswith("mflib.")}
    return found - {""}


def wing(name: str) -> int:
    """How high a module's wing stands."""
    return WINGS.index(name.partition(".")[0])


def test_imports_run_down_the_wings(repository: Path) -> None:
    known = modules(repository / "mflib")
    upward = [
        f"{name} imports {other}"
        for name, path in known.items()
        for other in imports(path, known)
        if wing(other) > wing(name)
    ]
    assert upward == []


def test_there_is_no_circle(repository: Path) -> None:
    known = modules(repository / "mflib")
    left = {name: imports(path, known) for name, path in known.items()}
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    assert left == {}


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """All of a module that runs when it is imported: everything but the insides of functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from at_import(child)


def test_every_module_can_be_imported_on_windows(repository: Path) -> None:
    found = []
    for path in (repository / "mflib").rglob("*.py"):
        for node in at_import(ast.parse(path.read_text())):
            names: set[str] = set()
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names} & UNIX_MODULES
            elif isinstance(node, ast.ImportFrom):
                names = {str(node.module)} & UNIX_MODULES | {alias.name for alias in node.names} & UNIX_NAMES
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                names = {node.attr} & UNIX_NAMES if node.value.id in ("os", "signal") else set()
            found += [f"{path.relative_to(repository)}: {name}" for name in names]
    assert found == []


def test_conda_and_pip_ask_for_the_same(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    conda = yaml.safe_load((repository / "environment.yml").read_text())["dependencies"]
    renamed = [re.sub(r"^torch\b", "pytorch", need) for need in project["dependencies"]]
    assert conda == [f"python{project['requires-python']}", "pip", *renamed, {"pip": ["-e . --no-deps"]}]


def test_every_import_is_asked_for(repository: Path) -> None:
    # A few are part of what another package gives to its users; that it brings them is checked too.
    through = {
        "ipykernel": "jupyterlab",
        "jupyter_client": "nbclient",
        "jupyter_core": "nbclient",
        "markupsafe": "jinja2",
        "pydantic_core": "pydantic",
        "pygments": "nbconvert",
        "threadpoolctl": "scikit-learn",
        "traitlets": "nbconvert",
    }
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needs = [*project["dependencies"], *extras["cluster"], *extras["export"], *extras["weights"]]
    asked = {re.split(r"[=<>]", need)[0] for need in needs}
    imported = {
        name.partition(".")[0]
        for path in (repository / "mflib").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""])
    }
    distributions = metadata.packages_distributions()
    for name in imported - set(sys.stdlib_module_names) - {"mflib"}:
        (needed,) = {found.lower().replace("_", "-") for found in distributions[name]}
        if name in through:
            brought = {re.split(r"[^\w-]", need)[0].lower() for need in metadata.requires(through[name]) or []}
            assert through[name] in asked and needed in brought, needed
        else:
            assert needed in asked


def test_the_lock_pins_every_direct_dependency(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    extras = [need for name, needs in project["optional-dependencies"].items() if name != "bench" for need in needs]
    wanted = {re.split(r"[=<>]", need)[0].lower() for need in [*project["dependencies"], *extras]}
    lock = (repository / "requirements.lock").read_text()
    pinned = set(re.findall(r"^([a-z0-9_.-]+)==", lock, re.MULTILINE))
    assert wanted <= pinned
    assert re.search(r"^torch==2\.13\.0$", lock, re.MULTILINE)
    assert "://" not in lock


@pytest.mark.parametrize("name", STEPS)
def test_notebooks_keep_the_house_style(name: str) -> None:
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    # Solutions and self-checks are a second text beside the first: they count for what they are, not for how many.
    (checks,) = (cell for cell in notebook.cells if cell.id == "checks")
    told = [c for c in notebook.cells if "solution" not in c.metadata.get("tags", []) and c is not checks]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    text = [cell.source for cell in told if cell.cell_type == "markdown"]
    lengths = [len(cell.source.splitlines()) for cell in told if cell.cell_type == "code"]
    assert 20 <= len(told) <= 30
    assert len(lengths) <= 15
    assert median(lengths) <= 5
    assert max(lengths) <= 25
    assert not [c for c in code if c.outputs or c.execution_count]
    assert not [line for c in code for line in c.source.splitlines() if re.match(r"\s*(def|class|async def) ", line)]
    assert sum(len(re.findall(r"^# ", part, re.MULTILINE)) for part in text) == 1
    assert text[0].startswith("# ")
    parts = ["Question.", "Afterwards you can", "Minutes.", "Before.", "Outputs.", "In the paper."]
    if name == "06_external":  # how long another cohort takes, nobody knows before
        parts.remove("Minutes.")
    assert re.findall(r"^\*\*(.+?)\*\*", text[0], re.MULTILINE) == parts
    assert "## What we saw" in text
    # Three questions, each with a folded answer of its own.
    said = r"(?:[^<]|< )+"
    fold = rf"<details><summary>Answer</summary>\n\n{said}\n\n</details>"
    asked = "".join(rf"\n\n\*\*{number}\.\*\* {said}\?\n\n{fold}" for number in (1, 2, 3))
    assert checks.cell_type == "markdown" and re.fullmatch("## Check yourself" + asked, checks.source)


def test_a_notebook_without_a_network_imports_neither_torch_nor_numba(tmp_path: Path) -> None:
    sources = [
        cell.source
        for name in STEPS
        if not name.startswith(("04", "06"))  # train or read networks
        for cell in nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
        if cell.cell_type == "code" and "import " in cell.source
    ]
    code = "\n".join([
        *sources,
        "import json, sys, mflib.study.report",
        f"Study.open('quick', run={str(tmp_path)!r})._repr_html_()",
        "print(json.dumps(sorted(sys.modules)))",
    ])  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert {"torch", "numba"} & set(json.loads(done.stdout)) == set()


def test_every_notebook_has_the_same_four_parameters() -> None:
    for name in STEPS:
        cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
        (cell,) = (cell.source for cell in cells if "parameters" in cell.metadata.get("tags", []))
        values = {node.target.id: ast.literal_eval(node.value) for node in ast.parse(cell).body}
        assert values == {"profile": "quick", "cohort": "", "run": "", "changes": {}}
        assert all("  # " in line for line in cell.splitlines()), "each parameter is explained"
        opened = [cell.source for cell in cells if "Study.open(profile, cohort, run, changes)" in cell.source]
        assert len(opened) == 1 and opened[0].splitlines()[-1] == "study"


@pytest.mark.parametrize("profile", ["quick", "full", "paper", "transfer"])
def test_profiles_are_whole_and_sound(profile: str) -> None:
    chosen = choose(profile)
    assert chosen.cohort == read(profile)["cohort"]
    assert (chosen.forest.seed, chosen.network.seed) == (chosen.seed, chosen.seed)


def test_public_names_are_documented(repository: Path) -> None:
    bare = []
    for name, path in modules(repository / "mflib").items():
        tree = ast.parse(path.read_text())
        nodes = [tree, *(n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef))]
        nodes += [m for n in tree.body if isinstance(n, ast.ClassDef) for m in n.body if isinstance(m, ast.FunctionDef)]
        private = {id(m) for n in tree.body if isinstance(n, ast.ClassDef) and n.name[0] == "_" for m in n.body}
        bare += [
            f"{name}.{getattr(node, 'name', '')}"
            for node in nodes
            if not getattr(node, "name", "x").startswith("_")
            and id(node) not in private
            and not ast.get_docstring(node)
        ]
    assert bare == []
