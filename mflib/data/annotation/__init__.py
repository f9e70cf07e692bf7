"""Reference points, region of interest and quality by hand, in JupyterLab; and how far two annotators agree.

``annotate`` shows the tool, ``compare`` holds a blinded second pass against the first. ``mflib annotate`` starts
JupyterLab with all of it.
"""

from mflib.data.annotation.marks import compare
from mflib.data.annotation.tool import annotate, launch
