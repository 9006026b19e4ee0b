"""Print what a checkpoint is: `python -m sswavenet.checkpoints FILE`."""

from __future__ import annotations

import math
import os
import pathlib
import sys

from sswavenet.checkpoints import hdf5, layout
from sswavenet.checkpoints.read import epoch_of, scalars
from sswavenet.config.tasks import TASKS
from sswavenet.console import streams
from util import UserError


def describe(path: os.PathLike) -> str:
    """What a checkpoint file is: origin, convention, task, layers, one fact a line."""
    path = pathlib.Path(path)
    with hdf5.opened(path) as source:
        contents = layout.contents(source)
        epoch = scalars(source).get("epoch", epoch_of(path))
        shapes = {
            f"{layer}/{kind}": tuple(dataset.shape or ())
            for layer, arrays in contents.layers.items()
            for kind, dataset in arrays.items()
        }
        names = sorted(shapes, key=layout.network_order)
    if not names:
        raise UserError(f"{path}: expected layers with weights, found none")
    outputs = (0, *shapes[names[-1]])[-1]
    tasks = [name for name, task in TASKS.items() if len(task.estimates) == outputs]
    kernels = {
        "theano": "theano (true convolution): flipped when read",
        "tensorflow": "tensorflow (correlation): read as they are",
        None: "not said: --kernel_convention is needed",
    }[contents.convention]
    backend = contents.backend
    if backend == "tensorflow":  # the one such name that the 2018 program knows
        backend += " (how kernels are stored; files of JAX and torch say so, too)"
    lines = [
        f"file           {path}",
        f"kind           {contents.kind}",
        f"backend        {backend or 'not said'}",
        f"Keras version  {contents.keras_version}",
        f"kernels        {kernels}",
        f"task           {tasks[0] if tasks else 'unknown'} ({outputs} outputs)",
        f"epoch          {'unknown' if epoch is None else epoch}",
        f"parameters     {sum(math.prod(shape) for shape in shapes.values()):,}",
        *(f"  {name:<38} {shapes[name]}" for name in names),
    ]
    return "\n".join(map(streams.printable, lines))


def main() -> int:
    """Print what the file named on the command line is."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.stderr.write("usage: python -m sswavenet.checkpoints FILE\n")
        return 2
    try:
        streams.write(describe(pathlib.Path(sys.argv[1])) + "\n")
    except BrokenPipeError:
        streams.silence_stdout()  # whoever read it is gone
        return 1
    except UserError as error:
        sys.stderr.write(f"error: {streams.printable(str(error))}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
