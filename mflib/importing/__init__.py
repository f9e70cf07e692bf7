"""A clinic's files into a cohort: looked at, mapped to patients by a person, and imported without names."""

from mflib.importing.errors import SourceError
from mflib.importing.listing import Listing, beside, template
from mflib.importing.mapping import Plan, plan, spacing
from mflib.importing.writing import Outcome, run

__all__ = ["Listing", "Outcome", "Plan", "SourceError", "beside", "plan", "run", "spacing", "template"]
