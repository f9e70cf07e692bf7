"""A synthetic cohort: physically grounded ultrasound of the lumbar multifidus, with patients, grades and readers.

Fat comes first: a patterned map of it in each muscle, whose share of the muscle is the segment's truth, which readers
grade with errors. Ultrasound follows by the convolution model (Bamber and Dickinson 1980, Phys Med Biol 25:463): a
random reflectivity, blurred by the scanner's point spread function, gives fully developed speckle; oriented interfaces
on top of it give the lamellae of a healthy muscle, and fat takes them away and fills the dark between them.
"""

from mflib.data.phantom.anatomy import Parameters
from mflib.data.phantom.folder import ceiling, given, purity, tissues, truth, write_cohort
from mflib.data.phantom.simulation import simulate
