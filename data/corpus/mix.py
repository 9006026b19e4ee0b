"""Effects, levels and the exact mixture of a song's stems.

Conventions: a stem is float64 (samples,), or (channels, samples) in a stereo song,
until `quantise` makes 16-bit integers whose sum is the mixture to the sample. Rates
are in Hz.
"""

from __future__ import annotations

import random

import numpy as np
from scipy.ndimage import minimum_filter1d
from scipy.signal import butter, fftconvolve, lfilter, sosfilt

from corpus.sources import STEMS

# Level of a stem while it plays, dB: mean and deviation.
LEVELS = {
    "vocals": (-17.0, 3.0),
    "drums": (-18.0, 3.5),
    "bass": (-20.0, 3.0),
    "other": (-19.5, 3.5),
}
# Energy of a stem relative to that of the mixture, dB, in songs that are balanced.
LOWEST, HIGHEST = -12.0, 3.0
PEAK = 0.95
MASTERED = 1 / 3  # of the training songs
DRAWS = 200


def place(y: np.ndarray, position: float, channels: int) -> np.ndarray:
    """Places a mono waveform in the stereo picture of a song with two channels.

    From -1, left, to 1, right. What has channels, (channels, samples), is placed
    already.
    """
    if channels == 1 or y.ndim > 1:
        return y
    angle = (position + 1) * np.pi / 4
    return np.sqrt(2) * np.stack([np.cos(angle) * y, np.sin(angle) * y])


def eq(y: np.ndarray, rng: random.Random, rate: int) -> np.ndarray:
    """Raises or lowers one band, and sometimes tilts or dulls the whole."""
    centre = np.exp(rng.uniform(np.log(80), np.log(5000)))
    band = [centre / 1.5, min(centre * 1.5, 7500)]
    y = y + rng.uniform(-0.6, 1.2) * sosfilt(
        butter(1, band, "bandpass", fs=rate, output="sos"), y
    )
    if rng.random() < 0.4:  # first-order tilt: brighter below 0, darker above
        pole = rng.uniform(-0.5, 0.5)
        y = lfilter([1 - abs(pole)], [1, -pole], y)
    if rng.random() < 0.15:
        edge = rng.uniform(2500, 6500)
        y = sosfilt(butter(2, edge, fs=rate, output="sos"), y)
    return y


def drive(y: np.ndarray, strength: float) -> np.ndarray:
    """Saturates: the peak is driven `strength` times into the curve."""
    return np.tanh(y / (np.abs(y).max() + 1e-9) * strength)


def reverb(y: np.ndarray, rng: random.Random, rate: int) -> np.ndarray:
    """Adds a room: decaying noise of a drawn length, delay and share."""
    noise = np.random.default_rng(rng.randrange(1 << 30))
    count = int(rng.uniform(0.2, 1.8) * rate)
    # Each channel has a tail of its own, which is what makes a room wide.
    tail = noise.normal(size=(*y.shape[:-1], count))
    tail *= np.exp(-6.9 * np.arange(count) / count)
    tail[..., : int(rng.uniform(0.002, 0.04) * rate)] = 0
    tail = lfilter([1], [1, -rng.uniform(0.0, 0.7)], tail)
    tail /= np.sqrt((tail**2).sum(axis=-1, keepdims=True))
    wet = fftconvolve(y, tail, axes=-1)[..., : y.shape[-1]]
    return y + rng.uniform(0.05, 0.4) * wet


def rest(y: np.ndarray, rng: random.Random, rate: int) -> np.ndarray:
    """Silences a stem for 10 to 35 % of the song, with fades of 30 ms."""
    length = y.shape[-1]
    count = int(length * rng.uniform(0.1, 0.35))
    at = rng.choice((0, rng.randrange(length - count), length - count))
    gate = np.ones(length)
    gate[at : at + count] = 0
    fade = int(0.03 * rate)
    # A constant history keeps the edges of the song from being faded.
    padded = np.pad(gate, (fade, fade), mode="edge")
    smooth = np.convolve(padded, np.ones(fade) / fade, mode="same")[fade:-fade]
    return y * smooth


def effects(y: np.ndarray, rng: random.Random, stem: str, rate: int) -> np.ndarray:
    """Drawn effects for a stem; the result has no offset and no defined level."""
    if rng.random() < 0.45:
        y = drive(y, rng.uniform(1, 6 if stem in ("bass", "other") else 2.5))
    if rng.random() < 0.65:
        y = eq(y, rng, rate)
    if stem == "vocals":
        y = sosfilt(butter(2, 90, "highpass", fs=rate, output="sos"), y)
    if rng.random() < {"vocals": 0.7, "bass": 0.08}.get(stem, 0.3):
        y = reverb(y, rng, rate)
    if stem != "vocals" and rng.random() < 0.2:
        y = rest(y, rng, rate)
    return remove_offset(y, rate)


def remove_offset(y: np.ndarray, rate: int) -> np.ndarray:
    """Takes out the constant part: what lies below 20 Hz."""
    y = y - y.mean(axis=-1, keepdims=True)
    return sosfilt(butter(2, 20, "highpass", fs=rate, output="sos"), y)


def polish(y: np.ndarray, rng: random.Random, stem: str, rate: int) -> np.ndarray:
    """The little that produced music gets, in half of the songs: another balance."""
    y = eq(y, rng, rate) if rng.random() < 0.5 else y
    return remove_offset(y, rate)


def loudness(y: np.ndarray) -> np.ndarray:
    """A waveform (samples,) whose power is the mean of the channels' power."""
    return y if y.ndim == 1 else np.sqrt((y**2).mean(axis=0))


def active_rms(y: np.ndarray, rate: int) -> float:
    """Root mean square over the blocks of 0.1 s within 30 dB of the loudest."""
    size = rate // 10
    y = loudness(y)
    blocks = (y[: len(y) // size * size].reshape(-1, size) ** 2).mean(axis=1)
    return float(np.sqrt(blocks[blocks >= blocks.max() * 1e-3].mean()))


def relative_levels(stems: np.ndarray) -> np.ndarray:
    """Energy of each stem, (stems, ..., samples), relative to their sum's, in dB."""
    stems = stems.reshape(len(stems), -1).astype(np.float64)
    energy = (stems**2).sum(axis=1)
    total = (stems.sum(axis=0) ** 2).sum()
    return 10 * np.log10((energy + 1e-12) / (total + 1e-12))


def balanced(levels: np.ndarray) -> bool:
    """Whether each level lies between -12 and +3 dB."""
    return bool(np.all((levels >= LOWEST) & (levels <= HIGHEST)))


def draw_gains(
    stems: np.ndarray, rng: random.Random, strict: bool, rate: int
) -> np.ndarray:
    """Draws the gains, (stems,), of the playing stems of `STEMS`.

    Silent rows keep the gain 0. In strict songs, and in most others, gains are drawn
    again until the song is balanced; a ValueError where no draw makes a strict song so.
    """
    playing = [i for i in range(len(STEMS)) if np.abs(stems[i]).max() > 0]
    rms = np.array([active_rms(stems[i], rate) for i in playing])
    unit = stems[playing].reshape(len(playing), -1) / rms[:, None]
    gram = unit @ unit.T  # energies of any mixture follow from it
    wanted = strict or rng.random() < 0.85
    gains = np.zeros(len(STEMS))
    for _ in range(DRAWS):
        drawn = [rng.gauss(*LEVELS[STEMS[i]]) for i in playing]
        gain = 10 ** (np.array(drawn) / 20)
        share = gain**2 * np.diag(gram) / (gain @ gram @ gain)
        if not wanted or balanced(10 * np.log10(share)):
            break
    else:
        if strict:
            raise ValueError(f"no balance of the stems in {DRAWS} draws")
    gains[playing] = gain / rms
    return gains


def bus_compression(mixture: np.ndarray, rng: random.Random, rate: int) -> np.ndarray:
    """The gain over time of a compressor that listens to the mixture.

    Applied to each stem it sounds as on the mixture, and the stems still add up.
    """
    mixture = loudness(mixture)
    smooth = np.exp(-1 / (rng.uniform(0.02, 0.2) * rate))
    level = np.sqrt(lfilter([1 - smooth], [1, -smooth], mixture**2)) + 1e-9
    threshold = rng.uniform(0.5, 1.2) * np.sqrt((mixture**2).mean())
    ratio = rng.uniform(1.3, 4.0)
    return np.minimum(1.0, (level / threshold) ** (1 / ratio - 1))


def limiter(mixture: np.ndarray, ceiling: float, reach: float, rate: int) -> np.ndarray:
    """The gain over time, (samples,), of a limiter that looks ahead on the mixture.

    Applied to each stem, it keeps the magnitude of their sum below the ceiling. It
    falls before a peak, and comes back, within `reach` seconds.
    """
    count = int(reach * rate)
    peaks = np.abs(mixture).reshape(-1, mixture.shape[-1]).max(axis=0)
    needed = np.minimum(1.0, ceiling / np.maximum(peaks, 1e-9))
    # A mean of minima that all reach the sample in question is no larger than what it
    # needs, so smoothing cannot let a peak through.
    held = minimum_filter1d(np.pad(needed, count, mode="edge"), 2 * count + 1)
    window = np.hanning(2 * count + 3)[1:-1]
    return fftconvolve(held, window / window.sum(), mode="valid")


def mastered(
    stems: np.ndarray, rng: random.Random, rate: int
) -> tuple[np.ndarray, float] | None:
    """Draws whether a song is mastered to be loud; None for a song that is not.

    Else the stems, limited as their sum is, and the peak to scale them to.
    """
    if rng.random() >= MASTERED:
        return None
    mixture = stems.sum(axis=0)
    ceiling = np.abs(mixture).max() * 10 ** (-rng.uniform(4, 12) / 20)
    gain = limiter(mixture, ceiling, rng.uniform(0.004, 0.06), rate)
    return stems * gain, 10 ** (-rng.uniform(0.1, 1.0) / 20)


def quantise(stems: np.ndarray, peak: float) -> tuple[np.ndarray, np.ndarray]:
    """The stems and their exact sum in 16 bits, scaled to a peak.

    That is the peak of the loudest of the mixture and the stems; full scale is 1.
    """
    loudest = max(np.abs(stems.sum(axis=0)).max(), np.abs(stems).max())
    if loudest > 0:
        stems = stems * (peak / loudest)
    whole = np.round(stems * 32767).astype(np.int32)
    return whole.astype(np.int16), whole.sum(axis=0).astype(np.int16)


def mix(
    stems: np.ndarray,
    rng: random.Random,
    strict: bool,
    rate: int,
    master: random.Random | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Balances the stems and adds them up, as `quantise` returns them.

    Stems are in the order of `STEMS`, (4, samples) or (4, channels, samples); an unused
    one is zero. A strict song must be balanced. `master` draws whether the song is
    mastered; None for a song that is not.
    """
    shape = (-1, *[1] * (stems.ndim - 1))
    stems = stems * draw_gains(stems, rng, strict, rate).reshape(shape)
    if rng.random() < 0.4:
        compressed = stems * bus_compression(stems.sum(axis=0), rng, rate)
        playing = np.abs(stems).reshape(len(stems), -1).max(axis=1) > 0
        if not strict or balanced(relative_levels(compressed)[playing]):
            stems = compressed
    peak = PEAK * 10 ** (-rng.uniform(0, 12) / 20)
    loud = master and mastered(stems, master, rate)
    return quantise(*loud) if loud else quantise(stems, peak)
