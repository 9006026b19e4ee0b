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

import util
from sswavenet.checkpoints import files as checkpoints
from sswavenet.config.session import Config
from sswavenet.console import packages
from util import UserError

logger = logging.getLogger(__name__)

OWN_COLUMNS = ("learning_rate", "seconds")  # not in the 2018 program's history


class SessionLog:
    """The history of a session's epochs and the files drawn from it.

    Args:
        session: the session's folder; nothing is read or written before a method is
            called.
        config: the session's configuration.
    """

    def __init__(self, session: pathlib.Path, config: Config):
        name = f"history_{config.task_name.replace('-', '_')}.csv"
        self.session = session
        self.path = session / name
        self.config = config
        self.rows: list[dict] = []

    def rewind(self, epoch: int, last_row: dict, write: bool = True) -> None:
        """Read the history back and keep the epochs before `epoch`.

        Args:
            epoch: the first one that is not complete.
            last_row: of the last one that is. It is added where it is missing: the
                training was killed after the checkpoint and before the history.
            write: whether this process writes the files. Defaults to True.

        Raises:
            UserError: the file is not a history.
        """
        self._read(epoch)
        if last_row and epoch - 1 not in [row["epoch"] for row in self.rows]:
            self.add_epoch(epoch - 1, last_row, write)
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
                for row in csv.DictReader(file):
                    numbers = {name: float(value) for name, value in row.items()}
                    self.check_row(numbers)
                    place = int(numbers["epoch"])
                    if place < epoch:
                        self.rows.append({**numbers, "epoch": place})
        except (LookupError, OverflowError, TypeError, ValueError, csv.Error) as error:
            raise UserError(
                f"{self.path}: expected a history as CSV with the columns epoch, loss, "
                f"val_loss and {self.config.early_stopping_monitor}, got {error!r}"
            ) from None

    def check_row(self, row: dict) -> None:
        """See that a row has what the epochs are compared by.

        Raises:
            KeyError: a column is missing.
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
        """Append an epoch and bring every file of the session up to date.

        Args:
            epoch: counted from 0, as the 2018 program's history does.
            row: means of the metrics, validation metrics and `OWN_COLUMNS`.
            write: whether this process writes the files. Defaults to True.
        """
        self.rows.append({"epoch": epoch, **row})
        if not write:
            return
        self._write_history()
        util.write_json(
            self.session / "best.json",
            {
                "checkpoint": self.best_name,
                "epoch": self.best["epoch"] + 1,
                "val_loss": self.best["val_loss"],
            },
        )
        self._draw_curves()
        if self.config.tensorboard:
            self._write_tensorboard(epoch, row)
        self._remove_old_checkpoints()

    def _write_history(self) -> None:
        metrics = sorted(set(self.rows[-1]) - {"epoch", *OWN_COLUMNS})
        metrics.sort(key=lambda name: name.startswith("val_"))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, ["epoch", *metrics, *OWN_COLUMNS], restval="nan")
        writer.writeheader()
        writer.writerows(self.rows)
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
        epochs = [row["epoch"] + 1 for row in self.rows]
        for name, label in (("loss", "training"), ("val_loss", "validation")):
            axes.plot(epochs, [row[name] for row in self.rows], ".-", label=label)
        axes.legend()
        axes.grid(alpha=0.3)
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=100)
        util.write_bytes(self.session / "learning_curve.png", image.getbuffer())

    def _write_tensorboard(self, epoch: int, row: dict) -> None:
        from tensorboardX import SummaryWriter

        with SummaryWriter(str(self.session / "tensorboard")) as writer:
            for name, value in row.items():
                writer.add_scalar(name, value, epoch)

    def _remove_old_checkpoints(self) -> None:
        """Keep the newest `keep_checkpoints` and the best; 0 keeps all.

        None of a training that had gone further, before this one went back: they
        would be taken for the newest.
        """
        last, name = self.rows[-1]["epoch"] + 1, checkpoint_name(self.rows[-1])
        kept: list[tuple] = []
        for path in (self.session / "checkpoints").glob("*.hdf5"):
            epoch = checkpoints.epoch_of(path)
            if epoch is not None and epoch >= last and path.name != name:
                path.unlink()
            elif epoch is not None:
                kept.append((epoch, path))
        if not self.config.keep_checkpoints:
            return
        for _, path in sorted(kept)[: -self.config.keep_checkpoints]:
            if path.name != self.best_name:
                path.unlink()


def check_packages(config: Config) -> None:
    """Refuse before the training what would fail after its first epoch.

    Raises:
        UserError: a package that the configuration needs is not installed.
    """
    if config.tensorboard and importlib.util.find_spec("tensorboardX") is None:
        raise UserError(
            "training.tensorboard needs a package that is not installed: "
            f"{packages.how_to_install('tensorboardX')}"
        )


def checkpoint_name(row: dict) -> str:
    """As in the original: the epoch counted from 1 and the validation loss."""
    return f"checkpoint.{row['epoch'] + 1:05d}-{row['val_loss']:.3f}.hdf5"
