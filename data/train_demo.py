"""Show the whole loop on a synthetic set: make it, train, separate, compare.

    python data/train_demo.py

Makes `data/demo`, trains the session `sessions/demo` that `config_demo.json` describes
(or goes on with it), separates the mixture of one test track, and prints the mean
absolute error on fragments of the test tracks, which training never hears, before and
after. Run it from the repository's root.
"""

from __future__ import annotations

import json
import logging
import os
import pathlib
import subprocess
import sys

os.environ.setdefault("KERAS_BACKEND", "jax")

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import make_demo
import numpy as np

import checkpoints
import compat
import models
from config import Config, UserError, parse_config
from datasets import Dataset

CONFIG_PATH = "config_demo.json"
TRACK = "Demo - 00"
NUM_FRAGMENTS = 64

logger = logging.getLogger("train_demo")


def run_main(*arguments: str) -> None:
    """Run main.py as a user would, and show how.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    logger.info("\npython main.py %s", subprocess.list2cmdline(arguments))
    subprocess.run([sys.executable, "main.py", *arguments], check=True)


def held_out_error(config: Config, dataset: Dataset, weights: dict | None) -> float:
    """Mean absolute error on fragments of the test tracks, which are always the same.

    Args:
        config: the session's configuration.
        dataset: the test tracks, loaded.
        weights: by name. None for those a training begins with.
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


def main() -> int:
    """Run the demonstration; returns the exit status."""
    config = parse_config(
        json.loads(pathlib.Path(CONFIG_PATH).read_text()), CONFIG_PATH
    )
    folder = pathlib.Path(config.dataset_path)
    try:
        make_demo.make_demo(folder, seed=1337)
        dataset = Dataset(config)
        dataset.load(("test",), progress=False)
        run_main("--mode", "training", "--config", CONFIG_PATH)
        session_config = f"{config.session_path}/config.json"
        mixture = str(folder / "test" / TRACK / "mixture.wav")
        run_main(
            *("--mode", "inference", "--config", session_config),
            *("--mixture_input_path", mixture),
        )
        path = checkpoints.find_latest(pathlib.Path(config.session_path))
        trained = checkpoints.read_checkpoint(path, config).weights
    except (OSError, UserError, subprocess.CalledProcessError) as error:
        logger.error("%s", error)
        return 1
    before = held_out_error(config, dataset, None)
    after = held_out_error(config, dataset, trained)
    logger.info(
        "\nMean absolute error on the test tracks: %.4f before training, %.4f after",
        before,
        after,
    )
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("jax").setLevel(logging.WARNING)
    sys.exit(main())
