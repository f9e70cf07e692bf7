"""A clinic's files into a cohort: looked at, mapped to patients by a person, and imported without names."""

from mflib.data.intake.listing import beside, template
from mflib.data.intake.mapping import Plan, plan, spacing
from mflib.data.intake.writing import Outcome, run
