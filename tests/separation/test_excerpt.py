"""A part of a mixture comes out as it does of the whole."""

import numpy as np
import pytest
import soundfile

import models
from sswavenet.separation import inputs
from sswavenet.separation.engine import Engine
from sswavenet.separation.excerpt import Excerpt
from sswavenet.separation.folder import separate_all
from sswavenet.separation.options import Options
from sswavenet.separation.source import ModelSource
from sswavenet.sound.formats import Encoding
from sswavenet.sound.reader import MonoReader
from tests.support import random_weights, tiny_config
from util import UserError

RATE = 16000
FLOAT = Encoding(subtype="FLOAT")


def test_lengths():
    assert Excerpt().length(1000, RATE) == 1000
    assert Excerpt(duration=0.05).length(1000, RATE) == 800
    assert Excerpt(duration=5).length(1000, RATE) == 1000
    assert Excerpt(start=1).length(-5, RATE) == 0
    assert Excerpt().is_whole
    assert not Excerpt(duration=1).is_whole
    assert not Excerpt(start=1).is_whole


def test_what_is_heard_of_a_part_has_a_margin_and_may_be_unknown():
    assert Excerpt().heard_length(1000, RATE, 50) == 1000
    assert Excerpt(duration=0.05).heard_length(10000, RATE, 50) == 900
    assert Excerpt(start=0.05).heard_length(1000, RATE, 50) == 300
    assert Excerpt(duration=0.05).heard_length(850, RATE, 50) == 850
    for excerpt in (Excerpt(), Excerpt(duration=1), Excerpt(start=1)):
        assert excerpt.heard_length(0, RATE, 50) == 0
    # The largest file may end before the part begins, and others not.
    assert Excerpt(start=1).heard_length(RATE, RATE, 50) == 0


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize(
    ("before", "seconds", "expected"),
    [
        (0, None, range(100)),
        (10, None, range(10, 100)),
        (10, 0.005, range(10, 90)),
        (95, 0.005, range(95, 100)),
    ],
)
def test_parts_are_cut_wherever_they_end(size, before, seconds, expected):
    whole = np.arange(100)
    parts = [
        (whole[k : k + size], whole[None, k : k + size]) for k in range(0, 100, size)
    ]
    kept = list(Excerpt(start=1, duration=seconds).cut(parts, before, RATE))
    assert np.concatenate([mixture for mixture, _ in kept]).tolist() == list(expected)
    estimates = np.concatenate([estimate for _, estimate in kept], axis=1)
    assert estimates[0].tolist() == list(expected)
    assert all(len(mixture) for mixture, _ in kept)


def test_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"expected audio behind 1\.5 s, got none"):
        list(Excerpt(1.5).cut([(np.zeros(5), np.zeros((1, 5)))], 5, RATE))
    soundfile.write(tmp_path / "a.wav", np.ones(RATE) / 2, RATE)
    with (
        ModelSource(tmp_path / "a.wav", sample_rate=RATE) as source,
        pytest.raises(UserError, match=r"expected audio behind 1\.5 s, got none"),
    ):
        Excerpt(1.5).select(source, 10)


@pytest.fixture(scope="module")
def separate():
    """A function that separates a file with a network of random weights."""
    config = tiny_config()
    weights = random_weights(config, np.random.default_rng(3))

    def build(**shape):
        return models.build_predict(config, weights, **shape)

    def run(path, output, *, field=100, **settings):
        settings.setdefault("encoding", FLOAT)
        summary = separate_all(
            inputs.find_mixtures(path).mixtures,
            Engine(config, build),
            Options(output_path=output, target_field_length=field, **settings),
            output,
        )
        (report,) = summary.files
        assert report.status == "separated", report.message
        return summary, {
            stem: soundfile.read(output / f"{path.stem}_{stem}.wav", dtype="float32")[0]
            for stem in config.task.stems
        }

    return run


@pytest.mark.slow
@pytest.mark.parametrize("form", ["model", "native", "masks"])
@pytest.mark.parametrize("rate", [16000, 44100, 8000])
@pytest.mark.parametrize(
    ("start", "duration"), [(0.0, 0.013), (0.02, 0.01), (0.0313, None), (0.05, 60)]
)
def test_a_part_has_the_samples_of_the_whole(
    form, rate, start, duration, separate, tmp_path, rng
):
    path = tmp_path / "song.wav"
    channels = 1 if form == "masks" else 2
    soundfile.write(path, rng.uniform(-1, 1, (rate // 16, channels)), rate, "FLOAT")
    _, whole = separate(path, tmp_path / "whole", stem_format=form)
    summary, part = separate(
        path,
        tmp_path / "part",
        excerpt=Excerpt(start, duration),
        stem_format=form,
    )
    rate = RATE if form == "model" else rate
    first = round(start * rate)
    stop = None if duration is None else first + round(duration * rate)
    for stem, samples in part.items():
        expected = whole[stem][first:stop]
        assert len(samples) == len(expected) > 0
        np.testing.assert_allclose(samples, expected, rtol=0, atol=2e-6)
    assert summary.audio_seconds == pytest.approx(len(samples) / rate)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_a_part_of_a_long_file_has_the_samples_of_the_whole(
    rate, separate, tmp_path, rng, caplog
):
    """Far from the beginning, softer than before, with channels out of phase."""
    path = tmp_path / "song.wav"
    song = rng.normal(0, 0.1, (25 * rate, 1)) * np.ones(2)
    song[3 * rate : 7 * rate, 1] *= -1
    song[5 * rate :] /= 100
    soundfile.write(path, song, rate, "FLOAT")
    _, whole = separate(path, tmp_path / "whole", field=8000)
    for start, duration in ((2.5, 1.0), (6.789, 0.5), (8.0, 0.3), (24.0, 0.5)):
        _, part = separate(
            path,
            tmp_path / f"{start}",
            excerpt=Excerpt(start, duration),
            field=8000,
        )
        first = round(start * rate)
        for stem, samples in part.items():
            assert len(samples) == round(duration * rate)
            expected = whole[stem][first : first + len(samples)]
            np.testing.assert_allclose(samples, expected, rtol=0, atol=1e-5)


def test_no_more_is_read_than_the_part_needs(separate, tmp_path, rng, monkeypatch):
    path = tmp_path / "song.wav"
    soundfile.write(path, rng.uniform(-1, 1, 40 * RATE), RATE, "FLOAT")
    read = []
    blocks = MonoReader.blocks

    def counting(reader):
        for block in blocks(reader):
            read.append(len(block))
            yield block

    monkeypatch.setattr(MonoReader, "blocks", counting)
    separate(path, tmp_path / "out", excerpt=Excerpt(30, 0.1))
    # 20 s before it say how loud it is.
    assert 1600 <= sum(read) - 20 * RATE < 2500
