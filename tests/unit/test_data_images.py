"""Damaged and hostile image files become one sentence, before memory is spent."""

from __future__ import annotations

import gzip
import struct
import tracemalloc

import nibabel
import numpy as np
import pytest

from pipeline.data.images import read_cifti, read_header, read_volume
from pipeline.errors import DataError
from pipeline.grayordinates import cortex_rows
from tests.unit.data_makers import N_LEFT, N_RIGHT, write_cifti, write_nifti


@pytest.fixture
def volume(tmp_path, rng):
    path = tmp_path / "a_bold.nii"
    write_nifti(path, rng.standard_normal((4, 3, 2, 7)).astype(np.float32))
    return path


@pytest.fixture
def series(tmp_path, rng):
    path = tmp_path / "a_Atlas.dtseries.nii"
    write_cifti(path, rng.standard_normal((5, N_LEFT + N_RIGHT)))
    return path


def patch(path, offset, raw):
    data = bytearray(path.read_bytes())
    data[offset : offset + len(raw)] = raw
    path.write_bytes(bytes(data))


def test_volume_is_read_as_float32_with_affine(volume):
    found = read_volume(volume)
    assert found.data.shape == (4, 3, 2, 7)
    assert found.data.dtype == np.float32
    assert np.array_equal(found.affine, np.diag([2, 2, 2, 1]))


def test_cifti_keeps_values_and_names_cortical_rows(series):
    found = read_cifti(series)
    assert found.data.shape == (5, N_LEFT + N_RIGHT)
    assert found.tr == 2.0
    left, right = cortex_rows()
    expected = np.concatenate([left[left >= 0][::100][:N_LEFT], right[right >= 0][::100][:N_RIGHT]])
    assert np.array_equal(found.voxel_ids, expected)


def test_cortex_has_the_published_number_of_grayordinates():
    left, right = cortex_rows()
    assert ((left >= 0).sum(), (right >= 0).sum()) == (29_696, 29_716)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_truncated_volume_names_the_file(tmp_path, rng, suffix):
    path = tmp_path / f"cut{suffix}"
    write_nifti(path, rng.standard_normal((9, 8, 7, 6)).astype(np.float32))
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(DataError, match=r"cut\.nii.*truncated"):
        read_volume(path)


def test_truncated_cifti_names_the_file(series):
    series.write_bytes(series.read_bytes()[:-40])
    with pytest.raises(DataError, match="truncated"):
        read_cifti(series)


@pytest.mark.parametrize("dim", [(4, 32767, 32767, 32767, 32767), (4, -5, 3, 2, 7), (9, 1, 1, 1, 1), (0, 1, 1, 1, 1)])
def test_impossible_dimensions_are_refused_without_memory(volume, dim):
    patch(volume, 40, struct.pack("<5h", *dim))
    tracemalloc.start()
    with pytest.raises(DataError, match="header"):
        read_volume(volume)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_gzip_bomb_by_header_is_refused(tmp_path):
    path = tmp_path / "bomb.nii.gz"
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((1000, 1000, 300))
    with gzip.open(path, "wb") as stream:
        stream.write(header.binaryblock)
        stream.write(bytes(4 * 2**20))
    with pytest.raises(DataError, match="refused"):
        read_volume(path)


def test_gzip_that_unpacks_beyond_its_header_is_refused(tmp_path):
    small = tmp_path / "small.nii"
    write_nifti(small, np.zeros((3, 2, 2), np.uint8))
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(small.read_bytes() + bytes(8 * 2**20)))
    with pytest.raises(DataError, match="more than the"):
        read_volume(path)


def test_affine_that_is_not_finite_is_refused(tmp_path):
    path = tmp_path / "a.nii"
    write_nifti(path, np.zeros((3, 2, 2), np.float32))
    patch(path, 280, struct.pack("<f", float("nan")))
    with pytest.raises(DataError, match="affine"):
        read_volume(path)


def test_volume_renamed_to_cifti_is_refused(tmp_path, volume):
    path = volume.rename(tmp_path / "b.dtseries.nii")
    with pytest.raises(DataError, match="plain NIfTI"):
        read_cifti(path)


def test_cifti_renamed_to_volume_is_refused(tmp_path, series):
    path = series.rename(tmp_path / "b_bold.nii")
    with pytest.raises(DataError, match="CIFTI"):
        read_volume(path)


def test_broken_cifti_xml_becomes_a_sentence(series):
    series.write_bytes(series.read_bytes().replace(b"<BrainModel ", b"<BroinModel ", 1))
    with pytest.raises(DataError, match="dtseries"):
        read_cifti(series)


def test_xml_entities_stay_refused(series):
    raw = series.read_bytes()
    start = raw.index(b"<CIFTI")
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaa">]>'
    series.write_bytes(raw[:start] + bomb + raw[start + len(bomb) :])
    with pytest.raises(DataError, match="DOCTYPE"):
        read_cifti(series)


def test_other_mesh_is_refused(tmp_path):
    from nibabel.cifti2 import BrainModelAxis, Cifti2Image, SeriesAxis

    path = tmp_path / "a.dtseries.nii"
    axis = BrainModelAxis.from_surface(np.arange(4), 10_242, "CortexLeft")
    nibabel.save(Cifti2Image(np.zeros((3, 4), np.float32), header=(SeriesAxis(0, 2, 3), axis)), path)
    with pytest.raises(DataError, match="fs_LR 32k"):
        read_cifti(path)


@pytest.mark.parametrize("raw", [b"", b"not an image at all", bytes(600)])
def test_anything_else_is_not_an_image(tmp_path, raw):
    path = tmp_path / "a.nii"
    path.write_bytes(raw)
    with pytest.raises(DataError, match="NIfTI header"):
        read_header(path)


def test_reading_writes_nothing_to_stderr(series, capfd):
    read_cifti(series)
    assert capfd.readouterr().err == ""
