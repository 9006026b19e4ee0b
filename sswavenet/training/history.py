"""What a session remembers of its epochs: history, best checkpoint, curves.

All of it follows from the rows of the history, so a resumed training only needs to
read them back. Files are rewritten whole and renamed, an epoch is either in all of
them or is trained again.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import logging
import pathlib
import re

import util
from sswavenet import checkpoints
from sswavenet.config.keys import shown
from sswavenet.config.session import Config
from sswavenet.console import packages
from util import UserError

logger = logging.getLogger(__name__)

OUTPUT = "data_output_"  # begins Keras's names of the metrics of one output
OWN_COLUMNS = ("learning_rate", "seconds")  # not in the 2018 program's history


class SessionLog:
    """The history of a session's epochs and the files drawn from it.

    Nothing is read or written before a method is called.
    """

    def __init__(self, session: pathlib.Path, config: Config):
        name = f"history_{config.task_name.replace('-', '_')}.csv"
        self.session = session
        self.path = session / name
        self.config = config
        self.rows: list[dict] = []

    def rewind(self, epoch: int, last_row: dict, write: bool = True) -> None:
        """Read the history back up to `epoch`, the last one that is complete.

        `last_row` is added where it is missing: the training was killed after the
        checkpoint and before the history. Raises UserError where the file is not a
        history.
        """
        self._read(epoch)
        if last_row and epoch not in [row["epoch"] for row in self.rows]:
            self.add_epoch(epoch, last_row, write)
        if len(self.rows) < epoch:
            logger.warning(
                "%s: has %d of the %d epochs so far", self.path, len(self.rows), epoch
            )

    def _read(self, epoch: int) -> None:
        self.rows = []
        if not self.path.is_file():
            return
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                names = reader.fieldnames or ()
                columns = {name: self._renamed(name, by_stems=False) for name in names}
                # The 2018 program, and earlier versions of this one, had Keras's names
                # in the file and counted epochs from 0.
                more = 1 if any(OUTPUT in name for name in names) else 0
                for row in reader:
                    # The 2018 program goes on with the file where the session's folder
                    # has the task's name: from 0, and without our columns.
                    added = all(row.get(name, "") is None for name in OWN_COLUMNS)
                    left_out = OWN_COLUMNS if added else ()
                    numbers = {
                        columns[name]: float(value)
                        for name, value in row.items()
                        if name not in left_out
                    }
                    self.check_row(numbers)
                    place = int(numbers["epoch"]) + (more or added)
                    if place < 1:
                        raise ValueError(f"epoch {place}")
                    if place <= epoch:
                        self.rows.append({**numbers, "epoch": place})
        except (LookupError, OverflowError, TypeError, ValueError, csv.Error) as error:
            raise UserError(
                f"{self.path}: expected a history as CSV with the columns epoch, loss, "
                f"val_loss and {self.config.early_stopping_monitor}, got {shown(error)}"
            ) from None

    def _renamed(self, name: str, *, by_stems: bool) -> str:
        """A metric's name by stems, as people read it, or by outputs, as in Keras."""
        for output, stem in enumerate(self.config.task.supervised, 1):
            by_output = (f"{OUTPUT}{output}_", f"{stem}_")
            before, after = by_output if by_stems else reversed(by_output)
            name = re.sub(f"^(val_)?{before}", rf"\g<1>{after}", name)
        return name

    def check_row(self, row: dict) -> None:
        """See that a row has what epochs are compared by.

        A KeyError where it has not.
        """
        needed = {"loss", "val_loss", self.config.early_stopping_monitor}
        if missing := sorted(needed - set(row)):
            raise KeyError(missing[0])

    @property
    def best(self) -> dict:
        """The row of the lowest validation loss so far; empty before the first."""
        return min(self.rows, key=lambda row: row["val_loss"], default={})

    @property
    def best_loss(self) -> float:
        """The lowest validation loss so far."""
        return self.best.get("val_loss", float("inf"))

    @property
    def best_name(self) -> str:
        """The best checkpoint's file name."""
        return checkpoint_name(self.best) if self.rows else ""

    def should_stop(self) -> bool:
        """Whether the monitored loss has not improved for `patience` epochs."""
        best, waited = float("inf"), 0
        for row in self.rows:
            value = row[self.config.early_stopping_monitor]
            best, waited = (value, 0) if value < best else (best, waited + 1)
        return waited >= self.config.early_stopping_patience

    def add_epoch(self, epoch: int, row: dict, write: bool = True) -> None:
        """Append an epoch, counted from 1, and bring the session's files up to date.

        The row holds means of the metrics, validation metrics and `OWN_COLUMNS`. Of
        several processes one writes.
        """
        self.rows.append({"epoch": epoch, **row})
        if not write:
            return
        self._write_history()
        util.write_json(
            self.session / "best.json",
            {
                "checkpoint": self.best_name,
                "epoch": self.best["epoch"],
                "val_loss": self.best["val_loss"],
            },
        )
        self._draw_curves()
        if self.config.tensorboard:
            self._write_tensorboard(epoch, row)

    def _write_history(self) -> None:
        metrics = sorted(set(self.rows[-1]) - {"epoch", *OWN_COLUMNS})
        metrics.sort(key=lambda name: name.startswith("val_"))
        text = io.StringIO(newline="")
        names = ["epoch", *metrics, *OWN_COLUMNS]
        writer = csv.writer(text)
        writer.writerow([self._renamed(name, by_stems=True) for name in names])
        writer.writerows([row.get(name, "nan") for name in names] for row in self.rows)
        util.write_bytes(self.path, text.getvalue().encode())

    def _draw_curves(self) -> None:
        try:
            from matplotlib.figure import Figure
        except ImportError:
            logger.info("no learning curves: matplotlib is not installed")
            return
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.add_subplot(
            xlabel="epoch", ylabel="loss", title=self.config.task_name
        )
        epochs = [row["epoch"] for row in self.rows]
        for name, label in (("loss", "training"), ("val_loss", "validation")):
            axes.plot(epochs, [row[name] for row in self.rows], ".-", label=label)
        axes.legend(loc="upper right")
        axes.grid(alpha=0.3)
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=100)
        util.write_bytes(self.session / "learning_curve.png", image.getbuffer())

    def _write_tensorboard(self, epoch: int, row: dict) -> None:
        from tensorboardX import SummaryWriter

        with SummaryWriter(str(self.session / "tensorboard")) as writer:
            for name, value in row.items():
                writer.add_scalar(self._renamed(name, by_stems=True), value, epoch)

    def remove_old_checkpoints(self, resumed_from: pathlib.Path | None) -> None:
        """Keep the newest `keep_checkpoints` and the best; 0 keeps all.

        None of a training that had gone further, before this one went back: they would
        be taken for the newest. Nothing goes before the last epoch's checkpoint is
        there, and the one that was resumed from stays in any case.
        """
        last, name = self.rows[-1]["epoch"], checkpoint_name(self.rows[-1])
        found = checkpoints.numbered(self.session)
        if name not in [path.name for _, path in found]:
            return
        gone = [path for epoch, path in found if epoch >= last and path.name != name]
        kept = [(epoch, path) for epoch, path in found if path not in gone]
        if self.config.keep_checkpoints:
            old = kept[: -self.config.keep_checkpoints]
            gone += [path for epoch, path in old if epoch != self.best["epoch"]]
        for path in gone:
            if resumed_from is None or path.name != resumed_from.name:
                path.unlink(missing_ok=True)
                logger.info("removed %s", path)


def check_packages(config: Config) -> None:
    """Refuse before the training what would fail after its first epoch."""
    if config.tensorboard and importlib.util.find_spec("tensorboardX") is None:
        raise UserError(
            "training.tensorboard needs a package that is not installed: "
            f"{packages.how_to_install('tensorboardX')}"
        )


def checkpoint_name(row: dict) -> str:
    """As in the original: the epoch counted from 1 and the validation loss."""
    return f"checkpoint.{row['epoch']:05d}-{row['val_loss']:.3f}.hdf5"
