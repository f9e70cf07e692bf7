"""The 3D convolutional network: architecture, training, saliency."""

import warnings

from mflib.base import lean as lean

# MONAI and the hub import tqdm, which in a notebook misses the widgets that nothing here uses.
warnings.filterwarnings("ignore", "IProgress not found")
