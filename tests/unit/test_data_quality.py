"""What is told of a subject's data: measures, counts, the lag, and what is missing with the reason."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.data import import_dataset
from pipeline.data.quality_report import quality_report
from pipeline.errors import ConfigError, DataError
from tests.unit.data_makers import N_CLIPS, N_LEFT, N_RIGHT, N_SIGNAL, make_bids, make_cc2017
from tests.unit.layout_makers import N_VOXELS, make_pt
from tests.unit.test_data_cli import call


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    folder = make_cc2017(tmp_path_factory.mktemp("raw") / "raw", np.random.default_rng(3))
    import_dataset(folder, "film", home)
    card = folder / "dataset.json"
    card.write_text(card.read_text().replace("true", "false"))
    import_dataset(folder, "recorded", home)
    return home


def test_raw_films_have_every_measure(raw):
    report = quality_report("film", "sub-01", raw)
    assert report.measured() == ["tsnr", "reliability", "test_reliability", "noise_ceiling"]
    assert report.missing == {}
    assert (report.n_selected, report.n_seen) == (N_SIGNAL, N_LEFT + N_RIGHT)
    assert report.lag is not None and len(report.lag.scores) == len(report.lag.lags)
    # The signal of the film is noise to tsnr: mean 1000, variance 8^2 + 1, of which a drift of order 4 takes its part.
    left = 65 * (N_CLIPS - 5) / (N_CLIPS - 1)
    assert report.summary()["tsnr"]["median"] == pytest.approx(1000 / left**0.5, rel=0.15)


def test_published_counts_are_for_recordings_only(raw):
    assert quality_report("film", "sub-01", raw, lag=False).published is None
    report = quality_report("recorded", "sub-01", raw, lag=False)
    assert report.published == 13_447
    assert "published are 13,447" in report.text()
    assert report.lag is None


def test_a_histogram_counts_every_voxel_once(raw):
    report = quality_report("film", "sub-01", raw, lag=False)
    found = report.histogram("reliability", 7)
    assert len(found.edges) == 8
    assert found.selected.sum() == N_SIGNAL
    assert found.others.sum() == N_LEFT + N_RIGHT - N_SIGNAL
    with pytest.raises(DataError, match="measures are tsnr"):
        report.histogram("voxel_ids")


def test_tensors_have_no_signal_to_noise_and_say_why(tmp_path, rng, home):
    import_dataset(make_pt(tmp_path / "pt", rng), "clips")
    report = quality_report("clips", "sub-01", lag=False)
    assert report.n_selected == N_VOXELS
    assert "z-scored" in report.missing["tsnr"]
    assert "temporal signal-to-noise: not known" in report.text()
    with pytest.raises(DataError, match="z-scored"):
        report.histogram("tsnr")


def test_a_study_without_repeats_says_what_is_not_known(tmp_path, rng, home):
    import_dataset(make_bids(tmp_path / "study", rng), "study")
    report = quality_report("study", "sub-01")
    assert report.measured() == ["tsnr"]
    assert set(report.missing) == {"reliability", "test_reliability", "noise_ceiling", "lag"}
    assert "rests" in report.missing["lag"]


def test_the_command_ends_with_one_json_line(raw, capsys):
    status, out, _ = call(capsys, "quality", "film", "--no-lag", "--home", raw, "--json")
    assert status == 0
    (found,) = json.loads(out.splitlines()[-1])["subjects"]
    assert found["n_selected"] == N_SIGNAL
    assert "arrays" not in found
    with pytest.raises(ConfigError, match="no subject"):
        quality_report("film", "sub-09", raw)
