"""Imported before nbformat: jsonschema without a part that takes 3 s in every process and serves nobody here.

jsonschema can check internationalised addresses where JupyterLab has brought ``rfc3987_syntax``, which builds its
grammar at import. Notebooks hold none.
"""

from __future__ import annotations

import sys

SLOW = "rfc3987_syntax"
if "jsonschema" not in sys.modules and SLOW not in sys.modules:
    # What stands as None cannot be imported, and jsonschema does without; afterwards anybody can have it again.
    sys.modules[SLOW] = None  # type: ignore[assignment]
    import jsonschema  # noqa: F401

    del sys.modules[SLOW]
