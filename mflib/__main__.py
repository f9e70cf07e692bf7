"""``python -m mflib`` is the command ``mflib``."""

from mflib.cli import app

app()
