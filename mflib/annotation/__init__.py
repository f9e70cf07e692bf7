"""Reference points, region of interest and quality by hand, in JupyterLab; and how far two annotators agree.

``annotate`` shows the tool, ``suggest`` computes where the points may lie, ``compare`` holds a blinded second pass
against the first. ``mflib.annotation.launch`` starts JupyterLab with all of it.
"""

from mflib.annotation.agreement import Agreement, compare
from mflib.annotation.marks import REASONS, AnnotationError, Marks
from mflib.annotation.opening import SECOND, open_session
from mflib.annotation.region import suggest_roi
from mflib.annotation.session import Session
from mflib.annotation.suggestion import Suggestion, suggest
from mflib.annotation.tool import Tool, annotate

__all__ = [
    "REASONS",
    "SECOND",
    "Agreement",
    "AnnotationError",
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
