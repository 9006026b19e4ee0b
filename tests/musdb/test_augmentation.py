"""What augmentation changes in fragments, and what it keeps."""

import numpy as np
import pytest

from sswavenet.config.tasks import TASKS
from tests.musdb.conftest import (
    NUM_FRAMES,
    RATE,
    coded_stems,
    draw_many,
    write_same,
    write_tree,
)
from tests.support import STEMS

EVERYTHING = {
    "augmentation_mix": 0.5,
    "augmentation_gain_db": 6,
    "augmentation_polarity": 0.5,
    "augmentation_resample": 0.1,
    "augmentation_tilt": 0.4,
    "augmentation_level_db": 5,
}


def middle_of(config, inputs):
    start = config.receptive_field_length // 2 - config.target_padding
    return inputs[:, start : start + config.padded_target_field_length]


@pytest.mark.parametrize("task_name", TASKS)
def test_augmented_input_is_the_sum_of_its_stems(
    make_config, load, tmp_path, rng, task_name
):
    # Without the stem that no target shows, the targets' sum is the input.
    stems = coded_stems(3, rng)
    stems["other"][:] = 0
    folder = write_same(tmp_path / "set", stems)
    config = make_config(folder, task_name, **EVERYTHING)
    inputs, targets = draw_many(load(config), 100)
    assert inputs.dtype == targets[0].dtype == np.float32
    np.testing.assert_allclose(middle_of(config, inputs), sum(targets), atol=2e-7)


def test_only_training_is_augmented(coded_tree, make_config, load):
    plain = load(make_config(coded_tree), subsets=("train", "test"))
    augmented = load(make_config(coded_tree, **EVERYTHING), subsets=("train", "test"))
    expected = draw_many(plain, 20, subset="test")
    inputs, targets = draw_many(augmented, 20, subset="test")
    assert np.array_equal(inputs, expected[0])
    assert np.array_equal(targets, expected[1])
    assert not np.array_equal(draw_many(augmented, 20)[0], draw_many(plain, 20)[0])


def test_mixed_stems_come_from_several_tracks(make_config, load, tmp_path):
    # Each stem is a constant that tells the track.
    def make_stems(number):
        level = np.full(60, (number + 1) / 256, np.float32)
        return dict.fromkeys(STEMS, level)

    folder = write_tree(tmp_path / "set", make_stems, num_tracks=30)
    config = make_config(folder, augmentation_mix=0.3)
    _, targets = draw_many(load(config), 2000)
    vocals, drums, bass = (target[:, 0] for target in targets)
    mixed = (vocals != drums) | (drums != bass)
    # Of 5 training tracks, three draws agree once in 5**2.
    chance = 0.3 * (1 - 1 / 5**2)
    assert abs(mixed.mean() - chance) < 4 * np.sqrt(chance * (1 - chance) / 2000)
    assert all(np.ptp(target, axis=1).max() == 0 for target in targets)


def test_gain_and_polarity(make_config, load, tmp_path):
    stems = dict.fromkeys(STEMS, np.full(NUM_FRAMES, 0.1, np.float32))
    folder = write_same(tmp_path / "set", stems)
    config = make_config(folder, augmentation_gain_db=6, augmentation_polarity=0.25)
    _, targets = draw_many(load(config), 1000)
    gains = np.array([target[:, 0] / 0.1 for target in targets])
    decibels = 20 * np.log10(np.abs(gains))
    assert np.abs(decibels).max() <= 6.0001
    # Uniform over 12 dB: deviation 12 / sqrt(12), independent from stem to stem.
    assert abs(decibels.mean()) < 0.3
    assert abs(decibels.std() - 12 / np.sqrt(12)) < 0.2
    assert np.abs(np.corrcoef(decibels) - np.eye(3)).max() < 0.15
    assert abs((gains < 0).mean() - 0.25) < 0.035


def test_tilt_keeps_the_level_and_changes_the_spectrum(
    make_config, load, tmp_path, rng
):
    noise = (0.1 * rng.standard_normal(NUM_FRAMES)).astype(np.float32)

    folder = write_same(tmp_path / "set", dict.fromkeys(STEMS, noise))
    changes = {"target_field_length": 4001, "target_padding": 14}
    config = make_config(folder, augmentation_tilt=0.5, **changes)
    _, targets = draw_many(load(config), 60)
    _, plain = draw_many(load(make_config(folder, **changes)), 1)
    level = np.sqrt(np.mean(np.square(plain)))
    vocals = targets[0][:, 1:]
    np.testing.assert_allclose(np.sqrt(np.mean(vocals**2, axis=1)), level, rtol=0.06)
    # Filtered white noise correlates with its own past by a / (1 + a**2).
    correlations = np.mean(vocals[:, 1:] * vocals[:, :-1], axis=1) / np.mean(
        vocals**2, axis=1
    )
    assert correlations.min() < -0.3
    assert correlations.max() > 0.3
    assert np.abs(correlations).max() < 0.4 + 0.05


@pytest.mark.parametrize(("amplitude", "center"), [(0.2, -20), (1e-3, None), (0, None)])
def test_levels_are_drawn_and_silence_is_not_raised(
    make_config, load, tmp_path, amplitude, center
):
    stems: dict = dict.fromkeys(STEMS, np.zeros(NUM_FRAMES, np.float32))
    stems["vocals"] = np.full(NUM_FRAMES, amplitude, np.float32)
    stems["drums"] = -stems["vocals"] / 2
    folder = write_same(tmp_path / "set", stems)
    config = make_config(folder, augmentation_level_db=6)
    inputs, targets = draw_many(load(config), 1000)
    factors = targets[0][:, 0] / (amplitude or 1)
    # One factor for all stems, so mixtures are still their sums.
    np.testing.assert_allclose(targets[1][:, 0], -factors * amplitude / 2, rtol=1e-3)
    np.testing.assert_allclose(inputs[:, 0], factors * amplitude / 2, rtol=1e-3)
    if center is None:  # raised by 20 dB at most, and zeros by nothing
        np.testing.assert_allclose(factors, 10 if amplitude else 0, rtol=1e-3)
        return
    decibels = 20 * np.log10(np.abs(inputs[:, 0]))
    assert np.abs(decibels - center).max() <= 6.01
    assert abs(decibels.mean() - center) < 0.4
    assert abs(decibels.std() - 12 / np.sqrt(12)) < 0.2


def test_resampling_changes_pitch_not_level(make_config, load, tmp_path):
    tone = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(3 * NUM_FRAMES) / RATE)

    stems = dict.fromkeys(STEMS, tone.astype(np.float32))
    folder = write_same(tmp_path / "set", stems)
    config = make_config(folder, augmentation_resample=0.2, target_field_length=4001)
    _, targets = draw_many(load(config), 200)
    time = np.arange(4003) / RATE
    speeds = []
    for vocals in targets[0]:
        spectrum = np.abs(np.fft.rfft(vocals * np.hanning(len(vocals)), 2**18))
        hertz = np.argmax(spectrum) * RATE / 2**18
        phase = 2 * np.pi * hertz * time
        basis = np.stack([np.sin(phase), np.cos(phase)], axis=1)
        weights, *_ = np.linalg.lstsq(basis, vocals, rcond=None)
        # A piece that reaches over the track's end holds some silence.
        if np.abs(vocals - basis @ weights).max() < 0.003:
            assert np.hypot(*weights) == pytest.approx(0.1, rel=0.005)
            speeds.append(hertz / 1000)
    assert len(speeds) > 170
    assert min(speeds) == pytest.approx(0.8, abs=0.02)
    assert max(speeds) == pytest.approx(1.2, abs=0.02)
    assert np.mean(speeds) == pytest.approx(1, abs=0.03)


def test_resampling_keeps_the_middle(make_config, load, tmp_path):
    ramp = np.arange(3 * NUM_FRAMES, dtype=np.float32) / 65536
    folder = write_same(tmp_path / "set", dict.fromkeys(STEMS, ramp))
    config = make_config(folder, augmentation_resample=0.2, target_field_length=4001)
    _, targets = draw_many(load(config), 50)
    vocals, drums, bass = (target[:, 2001] * 65536 for target in targets)
    assert np.abs(vocals - drums).max() < 2  # samples
    assert np.abs(vocals - bass).max() < 2
