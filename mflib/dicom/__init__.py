"""Volumes from DICOM files: geometry, grey levels and technical facts, without anything that names a person."""

from mflib.dicom.acquisition import Acquisition
from mflib.dicom.elements import DicomError
from mflib.dicom.opening import is_dicom
from mflib.dicom.reading import read

__all__ = ["Acquisition", "DicomError", "is_dicom", "read"]
