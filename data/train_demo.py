"""Show the whole loop on a synthetic set: make it, train, separate, compare.

    python data/train_demo.py

Makes `data/demo`, trains the session `sessions/demo` that `config_demo.json` describes
(or goes on with it), separates the mixture of one test track, and prints the mean
absolute error on fragments of the test tracks, which training never hears, before and
after. Run it from the repository's root.
"""

from __future__ import annotations

import logging
import os
import pathlib
import subprocess
import sys

os.environ.setdefault("KERAS_BACKEND", "jax")

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from sswavenet.console import packages

with packages.required():
    import make_demo
    import numpy as np

    import models
    from datasets import Dataset
    from sswavenet import checkpoints
    from sswavenet.backend import compat
    from sswavenet.config.document import parse_config
    from sswavenet.config.session import Config

import util
from sswavenet.console import run
from util import UserError

CONFIG_PATH = "config_demo.json"
TRACK = "Demo - 00"
NUM_FRAGMENTS = 64

logger = logging.getLogger("train_demo")


def run_main(*arguments: str) -> int:
    """Run main.py as a user would, and show how; returns its exit status."""
    logger.info("python main.py %s", subprocess.list2cmdline(arguments))
    process = subprocess.Popen([sys.executable, "main.py", *arguments])
    try:
        status = process.wait()
    except BaseException:
        process.terminate()  # it saves what it has learned
        process.wait()
        raise
    if status < 0:
        raise UserError(f"main.py was ended by signal {-status}")
    return status


def held_out_error(config: Config, dataset: Dataset, weights: dict | None) -> float:
    """Mean absolute error on fragments of the test tracks, which are always the same.

    Without weights, of those that a training begins with.
    """
    compat.set_seed(config.seed)
    model = models.build_wavenet(config)
    if weights is not None:
        models.load_weights(model, config, weights)
    inputs, targets = dataset.draw_batch(
        "test", NUM_FRAGMENTS, np.random.default_rng(config.seed)
    )
    estimates = model.predict(inputs, batch_size=config.batch_size, verbose=0)
    return float(np.mean(np.abs(np.asarray(estimates) - np.asarray(targets))))


def demonstrate() -> int:
    """Make, train, separate, compare; returns the exit status."""
    config = parse_config(util.read_json(pathlib.Path(CONFIG_PATH)), CONFIG_PATH)
    folder = pathlib.Path(config.dataset_path)
    make_demo.make_demo(folder, seed=1337)
    dataset = Dataset(config)
    dataset.load(("test",), progress=False)
    session_config = f"{config.session_path}/config.json"
    mixture = folder / "test" / TRACK / "mixture.wav"
    mixture_flag = ("--mixture_input_path", str(mixture))
    commands = (
        ("--mode", "training", "--config", CONFIG_PATH),
        ("--mode", "inference", "--config", session_config, *mixture_flag),
    )
    for command in commands:
        status = run_main(*command)
        if status:
            return status  # main.py has said why
    path = checkpoints.find_latest(pathlib.Path(config.session_path))
    trained = checkpoints.read_checkpoint(path, config).weights
    before = held_out_error(config, dataset, None)
    after = held_out_error(config, dataset, trained)
    logger.info(
        "mean absolute error on the test tracks: %.4f before training, %.4f after",
        before,
        after,
    )
    return 0


def main() -> int:
    """Run the demonstration; returns the exit status."""
    return run.run(demonstrate)


if __name__ == "__main__":
    sys.exit(main())
