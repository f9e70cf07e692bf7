"""A laboratory of pitfalls: what goes wrong when a study is done carelessly, and how large each error is.

Nine experiments, each a function from data, sizes and a seed to a tidy table. They run on the study's cohort, on the
cohort with its labels permuted, or on simulated data; the column ``data`` says which.
"""

from mflib.models.pitfalls.experiment import in_words, overview
from mflib.models.pitfalls.leakage import permuted, permuted_in_words, selection, split_by, threshold
from mflib.models.pitfalls.reference import (
    SCREENING,
    attenuated,
    ceiling,
    ceiling_in_words,
    prevalence,
    reader_error,
    tests_under_null,
)
from mflib.models.pitfalls.voxels import Volumes, gain, shuffle, shuffled, shuffled_in_words
