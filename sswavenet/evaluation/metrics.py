"""Scores of estimated stems: BSS Eval v4, SI-SDR, and the ideal ratio mask's stems.

Conventions: stems are rows, shape (stems, frames), mono, or (stems, frames, channels);
a mixture has the shape of a stem. Full scale is 1.0; scores are in dB, NaN where a
score is not defined. What is left out of a score says why.

References: Stoeter, Liutkus, Ito, "The 2018 Signal Separation Evaluation Campaign",
LVA/ICA 2018; Le Roux, Wisdom, Erdogan, Hershey, "SDR - half-baked or well done?",
ICASSP 2019.
"""

from __future__ import annotations

import importlib
import math
import shutil
import sys
import types
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import signal

BSS_METRICS = ("SDR", "ISR", "SIR", "SAR")
METRICS = ("si_sdr", "bss")
SILENCE_DB = -100.0
WINDOW_SECONDS = 1
MASK_SECONDS = 2048 / 44100  # a window of SiSEC 2018's oracles


def power_db(audio: np.ndarray) -> float:
    """Mean power in dB of full scale, -200 where there is none."""
    power = np.mean(np.square(audio, dtype=np.float64)) if len(audio) else 0.0
    return float(10 * np.log10(power + 1e-20))


def si_sdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio of one stem in dB, no mean subtracted.

    Both have the shape (frames,) or (frames, channels), which share one scale. It is
    infinite for a scaled copy, minus infinite for an estimate that holds nothing of the
    reference, NaN for a silent reference.
    """
    reference = reference.astype(np.float64).ravel()
    estimate = estimate.astype(np.float64).ravel()
    energy = reference @ reference
    if energy == 0:
        return math.nan
    target = (reference @ estimate) / energy * reference
    error = estimate - target
    target_energy, error_energy = target @ target, error @ error
    if target_energy == 0:
        return -math.inf
    if error_energy == 0:
        return math.inf
    return float(10 * np.log10(target_energy / error_energy))


def load_museval() -> Any:
    """The package museval.

    It imports musdb, to read data sets, and that refuses to be imported where ffmpeg
    is missing. Nothing here reads through it, so an empty module does as well.
    """
    if shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None:
        sys.modules.setdefault("musdb", types.ModuleType("musdb"))
    return importlib.import_module("museval")


def num_windows(num_frames: int, sample_rate: int) -> int:
    """Whole windows of BSS Eval in a track; museval, too, makes one of a short one."""
    return max(1, num_frames // (WINDOW_SECONDS * sample_rate))


def bss_eval(
    references: np.ndarray, estimates: np.ndarray, *, sample_rate: int
) -> np.ndarray:
    """BSS Eval v4 as in SiSEC 2018: windows and hops of 1 s, filters of the track.

    Of at least two references, none of them silent, and as many estimates. A stem's
    estimate that is silent throughout gets NaN; the others are scored as if it were
    not. Returns shape (metrics, stems, windows), metrics in the order of `BSS_METRICS`;
    NaN in windows in which any reference or estimate is silent.
    """
    museval = load_museval()
    silent = np.logical_not([estimate.any() for estimate in estimates])
    # museval refuses silent estimates; estimates are scored one by one, so that a
    # stand-in changes no other.
    heard = np.copy(estimates)
    heard[silent] = references[silent]
    shape = (*references.shape[:2], -1)  # museval wants channels
    window = WINDOW_SECONDS * sample_rate
    scores = np.stack(
        museval.evaluate(
            references.reshape(shape), heard.reshape(shape), win=window, hop=window
        )
    )
    scores[:, silent] = math.nan
    return scores


def score_stems(
    names: Sequence[str],
    references: np.ndarray,
    estimates: np.ndarray,
    mixture: np.ndarray,
    *,
    sample_rate: int,
    metrics: Sequence[str] = METRICS,
) -> list[dict[str, Any]]:
    """Score one track's estimates, which have the shape of the references.

    Returns a target for each stem in museval's layout: `name` and, with BSS Eval,
    `frames`, rounded like museval's, NaN where left out. Besides `level_db` (the
    reference's, from the mixture's), `gain_db` (the estimate's level, from the
    reference's), `si_sdr` and `left_out`: why BSS Eval (`bss`) or `si_sdr` does not
    count, where that is so.
    """
    sounding = np.array([power_db(stem) > SILENCE_DB for stem in references])
    level = power_db(mixture)
    targets: list[dict[str, Any]] = []
    for name, reference, estimate, sounds in zip(
        names, references, estimates, sounding
    ):
        reason = None
        if not sounds:
            reason = "silent reference"
        elif sounding.sum() < 2:
            reason = "no other stem sounds"
        left_out = dict.fromkeys(metrics, reason) if reason else {}
        target = {
            "name": name,
            "frames": [],
            "level_db": power_db(reference) - level,
            "gain_db": power_db(estimate) - power_db(reference) if sounds else math.nan,
            "left_out": left_out,
        }
        if "si_sdr" in metrics:
            target["si_sdr"] = math.nan if reason else si_sdr(reference, estimate)
        targets.append(target)
    if "bss" in metrics:
        _add_bss(targets, references, estimates, sounding, sample_rate)
    return targets


def _add_bss(
    targets: list[dict[str, Any]],
    references: np.ndarray,
    estimates: np.ndarray,
    sounding: np.ndarray,
    sample_rate: int,
) -> None:
    """Give each target its `frames`, and the reason where none of them counts."""
    stems, num_frames = references.shape[:2]
    shape = (len(BSS_METRICS), stems, num_windows(num_frames, sample_rate))
    scores = np.full(shape, math.nan)
    track_reason: str | None = None
    if num_frames < WINDOW_SECONDS * sample_rate:
        track_reason = f"shorter than {WINDOW_SECONDS} s"
    elif sounding.sum() >= 2:
        try:
            scores[:, sounding] = bss_eval(
                references[sounding], estimates[sounding], sample_rate=sample_rate
            )
        except (np.linalg.LinAlgError, AttributeError):
            # museval 0.4.1 meets stems that determine each other with a name that
            # NumPy 2 no longer has.
            track_reason = "stems are multiples of each other"
    for row, target in enumerate(targets):
        target["frames"] = [
            {
                "time": float(window * WINDOW_SECONDS),
                "duration": float(WINDOW_SECONDS),
                # museval's own store has five decimals and no infinity, either.
                "metrics": {
                    metric: round(score, 5) if math.isfinite(score) else math.nan
                    for metric, score in zip(
                        BSS_METRICS, scores[:, row, window].tolist()
                    )
                },
            }
            for window in range(shape[2])
        ]
        if target["left_out"].get("bss") or not np.isnan(scores[0, row]).all():
            continue
        if not estimates[row].any():
            target["left_out"]["bss"] = "silent estimate"
        else:
            target["left_out"]["bss"] = (
                track_reason or "in each window a stem is silent"
            )


def ideal_ratio_mask(
    references: np.ndarray, mixture: np.ndarray, *, sample_rate: int
) -> np.ndarray:
    """What the mixture gives up to masks that know the stems' magnitudes, float32.

    Each bin of the mixture's short-time spectrum (Hann windows of 1024 samples at 16
    kHz, half overlapping) is shared out in proportion to the stems' magnitudes there,
    for each channel apart: a ceiling for masking, not for separation as such.

    Reference: IRM1 of SiSEC 2018 (https://github.com/sigsep/sigsep-mus-oracle), which
    uses 2048 samples at 44.1 kHz.
    """
    length = 2 ** max(1, round(math.log2(MASK_SECONDS * sample_rate)))
    num_frames = len(mixture)
    short = max(0, length - num_frames)
    settings = {"nperseg": length, "noverlap": length // 2}
    # Channels before the frames.
    signals = np.swapaxes(np.concatenate([mixture[np.newaxis], references]), 1, -1)
    signals = np.pad(signals, ((0, 0),) * (signals.ndim - 1) + ((0, short),))
    spectra = signal.stft(signals, **settings)[2]
    magnitudes = np.abs(spectra[1:])
    shares = magnitudes / np.maximum(magnitudes.sum(axis=0), 1e-12)
    estimates = signal.istft(shares * spectra[0], **settings)[1]
    estimates = np.swapaxes(estimates[..., :num_frames], 1, -1)
    return estimates.astype(np.float32)


def score_methods(
    methods: Sequence[str],
    references: np.ndarray,
    mixture: np.ndarray,
    estimates: np.ndarray | None,
    rows: Sequence[Sequence[str]],
    sample_rate: int,
    *,
    names: Sequence[str],
    metrics: Sequence[str],
) -> dict[str, list[dict[str, Any]]]:
    """`score_stems` of one track for several methods, of the stems known alone.

    Methods are `model`, `mixture` (the mixture as every stem's estimate) and `oracle`
    (the ideal ratio mask); only `model` needs estimates, of all stems. Each row of the
    references is the sum of the stems that `rows` has there. Returns targets of all
    stems by method.
    """

    def estimates_of(method: str) -> Any:
        if method == "mixture":
            return np.broadcast_to(mixture, references.shape)
        if method == "oracle":
            return ideal_ratio_mask(references, mixture, sample_rate=sample_rate)
        stems = dict(zip(names, estimates if estimates is not None else ()))
        return np.stack([sum(stems[stem] for stem in row) for row in rows])

    found = {}
    for method in methods:
        targets = score_stems(
            ["+".join(row) for row in rows],
            references,
            estimates_of(method),
            mixture,
            sample_rate=sample_rate,
            metrics=metrics,
        )
        known = {target["name"]: target for target in targets}
        found[method] = [known.get(name) or _unknown(name, metrics) for name in names]
    return found


def _unknown(name: str, metrics: Sequence[str]) -> dict[str, Any]:
    """The target of a stem that the track does not know alone."""
    return {
        "name": name,
        "frames": [],
        "level_db": math.nan,
        "gain_db": math.nan,
        "left_out": dict.fromkeys(metrics, "not known alone"),
        **({"si_sdr": math.nan} if "si_sdr" in metrics else {}),
    }
