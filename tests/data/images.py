"""Writes small NIfTI, NRRD and MetaImage files, sound or spoilt on purpose."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk

MET = {"uint8": "MET_UCHAR", "int16": "MET_SHORT", "uint16": "MET_USHORT", "float32": "MET_FLOAT"}
SWEEP = {
    "UltrasoundImageOrientation": "MFA",
    "UltrasoundImageType": "BRIGHTNESS",
    "Seq_Frame0000_ProbeToTrackerTransform": "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1",
    "Seq_Frame0000_ProbeToTrackerTransformStatus": "OK",
    "Seq_Frame0000_Timestamp": "12.5",
}


def metaimage(
    path: Path,
    voxels: np.ndarray,
    spacing: tuple[float, ...] = (0.2, 0.25, 0.4),
    *,
    fields: Mapping[str, str] | None = None,
    packed: bool = False,
    data: str = "LOCAL",
    ending: str = "\n",
) -> Path:
    """A MetaImage of voxels (ni, nj, nk[, channels]), written by hand so that the header is ours to the byte."""
    channels = voxels.shape[3] if voxels.ndim == 4 else 1
    content = np.ascontiguousarray(voxels.transpose(2, 1, 0, *range(3, voxels.ndim))).tobytes()
    body = zlib.compress(content) if packed else content
    header = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": str(packed),
        **({"CompressedDataSize": str(len(body))} if packed else {}),
        "DimSize": " ".join(map(str, voxels.shape[:3])),
        "ElementSpacing": " ".join(map(str, spacing)),
        **(fields or {}),
        **({"ElementNumberOfChannels": str(channels)} if channels > 1 else {}),
        "ElementType": MET[voxels.dtype.name],
        "ElementDataFile": data,
    }
    text = "".join(f"{name} = {value}{ending}" for name, value in header.items())
    path.write_bytes(text.encode() + body)
    return path


def itk(
    path: Path,
    voxels: np.ndarray,
    spacing: tuple[float, ...] = (0.2, 0.25, 0.4),
    texts: Mapping[str, str] | None = None,
    *,
    vector: bool = False,
) -> Path:
    """Voxels (ni, nj, nk, ...) in whatever format the name asks for, with texts in the header."""
    axes = voxels.ndim - vector
    stored = np.ascontiguousarray(voxels.transpose(*reversed(range(axes)), *range(axes, voxels.ndim)))
    image = sitk.GetImageFromArray(stored, isVector=vector)
    image.SetSpacing([float(step) for step in spacing])
    for name, text in (texts or {}).items():
        image.SetMetaData(name, text)
    sitk.WriteImage(image, os.fspath(path), True)
    return path


def named_nifti(path: Path, voxels: np.ndarray, spacing: tuple[float, ...], text: str) -> Path:
    """A packed NIfTI with a text in every field of its header that holds one, and in a comment behind it."""
    plain = itk(path.with_name("plain.nii"), voxels, spacing)
    content = bytearray(plain.read_bytes())
    plain.unlink()
    for start, length in ((4, 10), (14, 18), (148, 80), (228, 24), (328, 16)):
        content[start : start + length] = text.encode()[:length].ljust(length, b"\0")
    comment = text.encode().ljust(56, b"\0")
    content[108:112] = struct.pack("<f", 352 + 8 + len(comment))
    content[348:352] = b"\1\0\0\0" + struct.pack("<2i", 8 + len(comment), 6) + comment
    path.write_bytes(gzip.compress(bytes(content)))
    return path
