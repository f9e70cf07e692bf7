"""Reference points, region of interest and quality by hand, in JupyterLab; and how far two annotators agree.

``annotate`` shows the tool, ``suggest`` computes where the points may lie, ``compare`` holds a blinded second pass
against the first. ``mflib annotate`` starts JupyterLab with all of it.
"""

from mflib.data.annotation.agreement import Agreement, compare
from mflib.data.annotation.marks import REASONS, Marks
from mflib.data.annotation.opening import SECOND, open_session
from mflib.data.annotation.session import Session
from mflib.data.annotation.suggestion import Suggestion, suggest, suggest_roi
from mflib.data.annotation.tool import Tool, annotate

__all__ = [
    "REASONS",
    "SECOND",
    "Agreement",
    "Marks",
    "Session",
    "Suggestion",
    "Tool",
    "annotate",
    "compare",
    "open_session",
    "suggest",
    "suggest_roi",
]
