"""Parameters of the notebooks, checked before anything runs: papermill injects whatever it is given."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat

from mflib.study.profile import ProfileError

TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str, "int": int, "float": (int, float), "bool": bool, "list": list, "dict": dict,
}  # fmt: skip


def declared(notebook: Path) -> dict[str, str]:
    """Name and type of each parameter in a notebook's cell tagged ``parameters``.

    Raises
    ------
    ProfileError
        The notebook has no such cell, or the cell holds more than typed literals.
    """
    cells = nbformat.read(notebook, as_version=4).cells
    tagged = [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise ProfileError(f"{notebook.name}: found {len(tagged)} cells tagged parameters, expected one")
    names = {}
    for node in ast.parse(tagged[0]).body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            raise ProfileError(
                f"{notebook.name}: the parameters cell holds {ast.unparse(node)!r}, expected name: type = value"
            )
        names[node.target.id] = ast.unparse(node.annotation)
    return names


def check(parameters: Mapping[str, Any], notebooks: list[Path]) -> None:
    """Refuse parameters that a notebook does not declare, lacks, or declares with another type.

    Raises
    ------
    ProfileError
        Every mismatch, with the notebook and what was expected.
    """
    problems = []
    for notebook in notebooks:
        names = declared(notebook)
        problems += [f"{notebook.name} has no parameter {name}" for name in parameters if name not in names]
        for name, kind in names.items():
            if name not in parameters:
                problems.append(f"{notebook.name} needs {name} ({kind}), which the profile does not give")
            elif not _fits(parameters[name], kind):
                problems.append(f"{notebook.name}: {name} is {parameters[name]!r}, expected {kind}")
    if problems:
        raise ProfileError(
            "parameters do not fit the notebooks:\n" + "\n".join(f"  {p}" for p in dict.fromkeys(problems))
        )


def _fits(value: Any, kind: str) -> bool:
    expected = TYPES.get(kind.split("[")[0], object)
    # In Python True is an int; in a profile it is a mistake.
    return isinstance(value, expected) and (isinstance(value, bool) == (kind == "bool"))
