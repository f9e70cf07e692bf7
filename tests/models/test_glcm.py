"""GLCM against brute force, scikit-image and the IBSI digital phantom."""

import subprocess
import sys
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skimage.feature import graycoprops

from mflib.data.volume import read
from mflib.models.texture import glcm

# The IBSI digital phantom (doi:10.1148/radiol.2020191145), slices z, rows y, columns x; negative is outside its mask.
PHANTOM = np.array(
    [
        [[1, 4, 4, 1, 1], [1, 4, 6, 1, 1], [4, 1, 6, 4, 1], [4, 4, 6, 4, 1]],
        [[1, 4, 4, 1, 1], [1, 1, 6, 1, 1], [-1, 1, 3, 1, 1], [4, 4, 6, 1, 1]],
        [[1, 4, 4, -1, -1], [1, 1, 1, 1, 1], [1, 1, -9, 1, 1], [1, 1, 6, 1, 1]],
        [[1, 4, 4, -1, -1], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 6, 1, 1]],
    ]
).T


def brute_force(volume, offset, levels, symmetric):
    """Every pair of voxels, one by one."""
    counts = np.zeros((levels, levels), dtype=np.int64)
    for index in product(*map(range, volume.shape)):
        other = tuple(a + b for a, b in zip(index, offset, strict=True))
        if any(not 0 <= a < n for a, n in zip(other, volume.shape, strict=True)):
            continue
        first, second = (int(volume[place]) * levels // 256 for place in (index, other))
        counts[first, second] += 1
        if symmetric:
            counts[second, first] += 1
    return counts


def properties_by_definition(counts):
    """The formulas as IBSI writes them, over all cells."""
    p = counts / counts.sum()
    i, j = np.indices(p.shape)
    deviation_i, deviation_j = i - (p * i).sum(), j - (p * j).sum()
    variance = (p * deviation_i**2).sum() * (p * deviation_j**2).sum()
    return [
        (p * (i - j) ** 2).sum(),
        (p * abs(i - j)).sum(),
        (p / (1 + (i - j) ** 2)).sum(),
        (p**2).sum(),
        np.sqrt((p**2).sum()),
        (p * deviation_i * deviation_j).sum() / np.sqrt(variance) if variance > 1e-20 else 1.0,
    ]


def small_volume(shape=(6, 5, 4), seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("symmetric", [True, False])
def test_matrix_and_features_equal_brute_force(symmetric):
    volume = small_volume()
    levels, steps = (5, 256, 16, 8, 64), (1, 2, 3)
    table = glcm.features(volume, levels=levels, steps=steps, symmetric=symmetric)
    names = []
    for count, step, direction in product(levels, steps, glcm.DIRECTIONS):
        offset = tuple(step * component for component in direction)
        expected = brute_force(volume, offset, count, symmetric)
        if not expected.any():
            continue
        np.testing.assert_array_equal(glcm.matrix(volume, offset, count, symmetric=symmetric), expected, strict=True)
        stem = f"glcm_{count}_{step}_{'.'.join(map(str, direction))}_"
        names += [stem + name for name in glcm.PROPERTIES]
        found = table[[stem + name for name in glcm.PROPERTIES]]
        np.testing.assert_allclose(found, properties_by_definition(expected), rtol=1e-11, atol=1e-13)
    assert list(table.index) == names == glcm.names(volume.shape, levels, steps)


def numpy_matrix(volume, offset):
    """Counts of 256 levels from shifted copies; fast enough for large volumes."""
    here = tuple(slice(max(0, -d), min(n, n - d)) for d, n in zip(offset, volume.shape, strict=True))
    there = tuple(slice(max(0, d), min(n, n + d)) for d, n in zip(offset, volume.shape, strict=True))
    pairs = volume[here].astype(np.int64) * 256 + volume[there]
    return np.bincount(pairs.ravel(), minlength=65536).reshape(256, 256)


@pytest.mark.parametrize(
    "shape", [(1, 40, 33), (40, 1, 9), (7, 31, 1), (3, 3, 64), (2, 2, 2), (9, 8, 7), (17, 16, 15), (1, 1, 50)]
)
def test_every_combination_of_odd_volumes_equals_numpy(shape):
    volume = small_volume(shape, seed=sum(shape))
    table = glcm.features(volume, levels=[256], steps=range(1, 12), symmetric=False)
    expected = {}
    for step, direction in product(range(1, 12), glcm.DIRECTIONS):
        offset = tuple(step * component for component in direction)
        if all(abs(d) < n for d, n in zip(offset, shape, strict=True)):
            counts = numpy_matrix(volume, offset)
            np.testing.assert_array_equal(glcm.matrix(volume, offset, 256, symmetric=False), counts)
            expected[f"{step}_{'.'.join(map(str, direction))}"] = counts
    assert list(dict.fromkeys(name[9:].rsplit("_", 1)[0] for name in table.index)) == list(expected)
    for stem, counts in expected.items():
        found = table[[f"glcm_256_{stem}_{name}" for name in glcm.PROPERTIES]]
        np.testing.assert_allclose(found, properties_by_definition(counts), rtol=1e-9, atol=1e-12)


def test_a_grey_level_of_more_voxels_than_a_narrow_bin_holds():
    volume = np.full((300, 300, 3), 7, np.uint8)
    volume[::50, ::7, 1] = 200
    assert (volume == 7).sum() > 2**17
    for offset in ((1, 0, 0), (0, 3, 1)):
        np.testing.assert_array_equal(
            glcm.matrix(volume, offset, 256, symmetric=False), numpy_matrix(volume, offset), strict=True
        )


def test_a_real_scan_equals_numpy_and_scikit_image(real_volumes):
    voxels = read(real_volumes / "SpinePhantomFreehandReconstructed.mha").voxels[20:91, 30:77, 11:60]
    table = glcm.features(voxels, levels=[256], steps=[1, 4])
    for step, direction in product((1, 4), glcm.DIRECTIONS):
        counts = numpy_matrix(voxels, tuple(step * component for component in direction))
        symmetric = counts + counts.T
        np.testing.assert_array_equal(
            glcm.matrix(voxels, tuple(step * component for component in direction), 256), symmetric
        )
        for name in glcm.PROPERTIES:
            expected = graycoprops((symmetric / symmetric.sum())[:, :, None, None], name).item()
            found = table[f"glcm_256_{step}_{'.'.join(map(str, direction))}_{name}"]
            assert found == pytest.approx(expected, rel=1e-9 if name == "correlation" else 1e-12)


WORKING_SET = """
import numpy as np
from pathlib import Path
from mflib.models.texture import glcm

def kib(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))

volume = np.random.default_rng(0).normal(120, 20, (180, 180, 70)).clip(0, 255).astype(np.uint8)
glcm.features(volume[:16, :16, :16])  # compiles
Path("/proc/self/clear_refs").write_text("5")
before = kib("VmRSS:")
glcm.features(volume)
print(kib("VmHWM:") - before)
"""


def test_working_set_beside_the_volume():
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of resident memory is read from Linux")
    done = subprocess.run([sys.executable, "-c", WORKING_SET], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) <= 4096


@pytest.mark.slow
def test_mirp_gives_the_same():
    mirp = pytest.importorskip("mirp", reason="the second oracle, MIRP, is not installed (pip install -e .[bench])")
    levels = np.random.default_rng(4).integers(1, 9, (12, 11, 10))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MIRP's own
        (theirs,) = mirp.extract_features(
            image=levels.astype(float),
            mask=np.ones(levels.shape, dtype=int),
            base_feature_families="cm",
            base_discretisation_method="none",
            glcm_distance=1.0,
            glcm_spatial_method="3d_average",
        )
    # Level n of 8 is grey level 32 n - 1 at its brightest; MIRP has its axes the other way round, all directions alike.
    ours = glcm.features((32 * levels - 1).astype(np.uint8), levels=[8], steps=[1])
    mean = ours.groupby(ours.index.str.rsplit("_").str[-1]).mean()
    theirs = theirs.iloc[0]
    names = {"contrast": "contrast", "dissimilarity": "diff_avg", "homogeneity": "inv_diff_mom", "ASM": "energy"}
    names["correlation"] = "corr"
    for name, short in names.items():
        (value,) = [theirs[column] for column in theirs.index if column.startswith(f"cm_{short}_d1")]
        assert mean[name] == pytest.approx(value, rel=1e-9)


def test_thirteen_directions_are_one_of_each_opposite_pair():
    neighbours = {d for d in product((-1, 0, 1), repeat=3) if any(d)}
    opposite = {(-i, -j, -k) for i, j, k in glcm.DIRECTIONS}
    assert len(glcm.DIRECTIONS) == 13
    assert set(glcm.DIRECTIONS) | opposite == neighbours
    assert "glcm_64_5_1.-1.0_contrast" in glcm.names((90, 90, 35))
    assert len(glcm.names((90, 90, 35))) == 7020


@pytest.mark.parametrize("levels", [2, 7, 64, 256])
@pytest.mark.parametrize("symmetric", [True, False])
def test_properties_equal_scikit_image(levels, symmetric):
    counts = glcm.matrix(small_volume((20, 20, 12)), (2, -2, 1), levels, symmetric=symmetric)
    found = glcm.properties(counts)
    normalised = (counts / counts.sum())[:, :, None, None]
    for name in glcm.PROPERTIES:
        expected = graycoprops(normalised, name).item()
        assert found[name] == pytest.approx(expected, rel=1e-9 if name == "correlation" else 1e-12)


def test_ibsi_digital_phantom():
    # What is outside is a level of its own, whose row and column are left out of the matrices.
    volume = np.where(PHANTOM > 0, PHANTOM, 7).astype(np.uint8)
    inside = [glcm.matrix(volume, direction, 256)[:7, :7] for direction in glcm.DIRECTIONS]
    mean, merged = pd.DataFrame(map(glcm.properties, inside)).mean(), sum(inside)
    present = [1, 3, 4, 6]
    assert merged[np.ix_(present, present)].tolist() == [
        [536, 14, 105, 61],
        [14, 0, 5, 6],
        [105, 5, 64, 28],
        [61, 6, 28, 16],
    ]
    of_merged = glcm.properties(merged)
    published = {
        "contrast": (5.32, 5.12),
        "dissimilarity": (1.43, 1.38),
        "homogeneity": (0.618, 0.631),
        "ASM": (0.303, 0.291),
        "correlation": (0.157, 0.183),
    }
    for name, (by_mean, by_merging) in published.items():
        assert float(f"{mean[name]:.3g}") == by_mean
        assert float(f"{of_merged[name]:.3g}") == by_merging


def test_memory_order_does_not_matter():
    volume = small_volume((9, 8, 4))
    expected = glcm.features(volume)
    assert expected.equals(glcm.features(np.asfortranarray(volume)))
    assert expected.equals(glcm.features(np.repeat(volume, 2, axis=0)[::2]))


def test_thin_elevation_leaves_out_what_does_not_fit():
    table = glcm.features(small_volume((20, 20, 4)), levels=[32])
    steps = {int(name.split("_")[2]) for name in table.index if not name.split("_")[3].endswith("0")}
    assert steps == {1, 2, 3}
    assert sum("_15_" in name for name in table.index) == 4 * len(glcm.PROPERTIES)
    assert np.isfinite(table).all()


def test_one_level_after_quantisation_has_correlation_one():
    volume = np.tile(np.array([10, 20], dtype=np.uint8), (4, 4, 2))
    table = glcm.features(volume, levels=[8, 256], steps=[1])
    assert table["glcm_8_1_1.0.0_correlation"] == table["glcm_8_1_1.0.0_ASM"] == 1
    assert table["glcm_256_1_0.0.1_correlation"] == pytest.approx(-1)
    assert np.isfinite(table).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"volume": np.full((5, 5, 5), 7, np.uint8)}, "all of grey level 7"),
        ({"volume": np.zeros((5, 5, 5))}, "float64, expected three axes of uint8"),
        ({"volume": np.zeros((5, 5), np.uint8)}, "2 axes"),
        ({"steps": [6, 9]}, "no step of"),
    ],
)
def test_refusals_say_what_was_found(arguments, message):
    with pytest.raises(ValueError, match=message):
        glcm.features(**{"volume": small_volume(), **arguments})


@pytest.mark.parametrize("levels", [1, 512])
def test_matrix_refuses_what_is_no_number_of_levels(levels):
    with pytest.raises(ValueError, match="from 2 to 256"):
        glcm.matrix(small_volume(), (1, 0, 0), levels)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("beyond", [0, 1, 9, 300, 3 * 10**9])
@pytest.mark.parametrize("sign", [1, -1])
def test_matrix_refuses_an_offset_without_pairs(axis, beyond, sign):
    volume = small_volume()
    offset = [0, 0, 0]
    offset[axis] = sign * (volume.shape[axis] + beyond)
    with pytest.raises(ValueError, match="leaves no pair"):
        glcm.matrix(volume, tuple(offset), 8)
    offset[axis] = sign * (volume.shape[axis] - 1)
    assert glcm.matrix(volume, tuple(offset), 8, symmetric=False).sum() == volume.size / volume.shape[axis]


def test_matrix_refuses_what_is_no_offset():
    with pytest.raises(ValueError, match="expected three whole numbers"):
        glcm.matrix(small_volume(), (0, 0, 0), 8)


def test_numpy_numbers_are_whole_numbers():
    volume = small_volume()
    expected = glcm.features(volume, levels=[8, 16], steps=[1])
    assert expected.equals(glcm.features(volume, levels=np.array([8, 16]), steps=np.arange(1, 2)))


def test_a_larger_voxel_is_the_mean_of_what_it_covers():
    fine = np.random.default_rng(3).integers(0, 256, (12, 10, 6)).astype(np.uint8)
    # Each voxel as five small ones, six of which are a new voxel.
    small = np.repeat(np.repeat(fine, 5, axis=0), 5, axis=1).astype(int)
    sums = small.reshape(10, 6, 50, 6).sum(axis=1)[:, :48].reshape(10, 8, 6, 6).sum(axis=2)
    wide = glcm.resampled(fine, (0.5, 0.5, 0.5), (0.6, 0.6, 0.5))
    assert wide.shape == (10, 8, 6) == glcm.size_in(fine.shape, (0.5, 0.5, 0.5), (0.6, 0.6, 0.5))
    np.testing.assert_array_equal(wide, (2 * sums + 36) // 72)
    assert glcm.resampled(fine, (0.5, 0.4, 0.3), (0.5, 0.4, 0.3)) is fine
    doubled = fine.repeat(2, axis=0).repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_array_equal(glcm.resampled(doubled, (0.2, 0.2, 0.2), (0.4, 0.4, 0.4)), fine)
    with pytest.raises(ValueError, match="expected at most"):
        glcm.resampled(fine, (20.0, 20.0, 20.0), (0.01, 0.01, 0.01))
