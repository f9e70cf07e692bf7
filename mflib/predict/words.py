"""What a page and a terminal say in the same words."""

from __future__ import annotations

from mflib.predict.results import Verdict

RESEARCH = "Research use only. Not a medical device; not for diagnosis."
CALLS = {0: "no infiltration", 1: "infiltration"}
VERDICTS: dict[Verdict, str] = {
    "inside": "Inside what the models have seen",
    "at the edge": "At the edge of what the models have seen",
    "outside": "Outside what the models have seen",
}
NOT_READ = "The scores below are not to be read."
INTERVAL = "95 % interval of the fit"
