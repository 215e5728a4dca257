"""Files that a training writes while it runs, so that others can show its progress.

They are no outputs of the pipeline: git and DVC ignore them, and no stage reads them.

- ``live/run_R/run.json``: what `RunState` has; locked while the run is trained.
- ``live/run_R/fold_F.json``: a `FitState`, rewritten at most once per second.
- ``live/run_R/fold_F.tsv``: a row for each epoch, counted from 1, added as the epoch ends.
- with inner folds ``fold_F_inner_J.json`` and ``.tsv`` for each network of a fold.
- ``live/dvc.yaml``: plots of the .tsv files, for the DVC extension of Visual Studio Code.

If a file cannot be written, the training continues without it; a note names the first at its start.
"""

import fcntl
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from murmur.files import atomic_write

logger = logging.getLogger(__name__)
FOLDER = Path("live")
COLUMNS = (
    *("epoch", "train_loss", "learning_rate", "validation_loss", "validation_uar", "validation_accuracy"),
    "seconds",
)
HEADER = "\t".join(COLUMNS) + "\n"
PLOTS = {
    "Training now: training loss": "train_loss",
    "Training now: validation loss": "validation_loss",
    "Training now: validation UAR": "validation_uar",
}
INTERVAL = 1.0  # s between two versions of fold_F.json, at least
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass
class FitState:
    """The progress of one network.

    Attributes
    ----------
    fold : int
        Number of the fold.
    epochs : float
        Epochs trained, with the fraction of the present one.
    started, seconds : float or None, float
        When the training began (seconds since 1970; None: not yet), and for how long it has run.
    train_loss, validation_loss, validation_uar : float or None
        Of the last complete epoch.
    best : int or None
        Index of the best epoch.
    is_finished : bool
        Whether the training has ended.
    inner : int or None
        Number of the network in its fold, as `murmur.training.run.Network`; None if the fold has one.
    restored : int
        How many of the epochs are from the checkpoint of an interrupted training.
    """

    fold: Count
    epochs: Amount = 0.0
    started: Amount | None = None
    seconds: Amount = 0.0
    train_loss: float | None = None
    validation_loss: float | None = None
    validation_uar: float | None = None
    best: Count | None = None
    is_finished: bool = False
    inner: Count | None = None
    restored: Count = 0

    @property
    def is_running(self) -> bool:
        """Whether the training has begun and not ended."""
        return self.started is not None and not self.is_finished


@dataclass
class RunState:
    """The progress of one run.

    Attributes
    ----------
    run : int
        Number of the run.
    epochs : int
        The maximum number of epochs of a network.
    workers : int
        How many networks are trained at the same time.
    fits : list of FitState
        All networks.
    is_training : bool
        Whether the process that trains it still runs.
    """

    run: Count
    epochs: Annotated[int, Field(ge=1)]
    workers: Annotated[int, Field(ge=1)]
    fits: Annotated[list[FitState], Field(min_length=1)]
    is_training: bool = True

    @property
    def inner(self) -> int | None:
        """Number of networks of each fold; None if each fold has one."""
        numbers = [fit.inner for fit in self.fits if fit.inner is not None]
        return max(numbers) + 1 if numbers else None


class Recorder:
    """Writes the progress of one network.

    Parameters
    ----------
    folder : Path or None
        The folder of the run; None: nothing is written.
    fold, inner
        As in `FitState`.
    """

    def __init__(self, folder: Path | None = None, fold: int = 0, inner: int | None = None) -> None:
        self._folder = folder
        self._state = FitState(fold, started=time.time(), inner=inner)
        self._start = self._written = time.monotonic()
        self._write_state()
        if folder:
            with suppress(OSError):  # again if a cluster repeats the work of a worker that it has lost
                (folder / f"{self._name}.tsv").write_text(HEADER)

    @property
    def _name(self) -> str:
        return name_files(self._state.fold, self._state.inner)

    def record_position(self, epochs: float) -> None:
        """Record how many epochs are trained, with the fraction of the present one."""
        now = time.monotonic()
        self._state.epochs, self._state.seconds = epochs, now - self._start
        if now - self._written >= INTERVAL:
            self._written = now
            self._write_state()

    def record_restored(self, epochs: int) -> None:
        """Record how many epochs are from the checkpoint of an interrupted training."""
        self._state.restored = self._state.epochs = epochs

    def record_epoch(self, row: Mapping[str, float], best: int) -> None:
        """Record a complete epoch.

        Parameters
        ----------
        row : mapping of str to float
            `COLUMNS` except the time; the epoch is counted from 0.
        best : int
            Index of the best epoch so far.
        """
        state = self._state
        state.best, state.train_loss = best, row["train_loss"]
        state.validation_loss, state.validation_uar = row["validation_loss"], row["validation_uar"]
        self.record_position(row["epoch"] + 1)
        values = [row["epoch"] + 1, *(row[name] for name in COLUMNS[1:-1]), time.monotonic() - self._start]
        line = "\t".join(f"{value:.6g}" for value in values)
        if self._folder:
            with suppress(OSError), (self._folder / f"{self._name}.tsv").open("a") as file:
                file.write(f"{line}\n")

    def finish(self) -> None:
        """Record that the training has ended."""
        self._state.seconds = time.monotonic() - self._start
        self._state.is_finished = True
        self._write_state()

    def _write_state(self) -> None:
        if self._folder and self._folder.is_dir():  # it may have been removed
            path = self._folder / f"{self._name}.json"  # a cluster may train a network twice
            with suppress(OSError), atomic_write(path) as part:
                part.write_text(json.dumps(asdict(self._state)))


def name_files(fold: int, inner: int | None = None) -> str:
    """Name the files of a network, without their ending."""
    return f"fold_{fold}" if inner is None else f"fold_{fold}_inner_{inner}"


@contextmanager
def record_run(
    folder: Path | None, run: int, networks: Sequence[tuple[int, int | None]], epochs: int, workers: int
) -> Iterator[Path | None]:
    """Prepare the files of a run, and lock its run.json until the block ends.

    Parameters
    ----------
    folder : Path or None
        `FOLDER`; None: nothing is written.
    run : int
        Number of the run; its files of an earlier training are deleted.
    networks : sequence of (int, int or None)
        Fold and inner fold of each network, as in `FitState`.
    epochs, workers
        As in `RunState`.

    Yields
    ------
    Path or None
        The folder of the run; None if it cannot be written, which a note states.
    """
    content = {"run": run, "epochs": epochs, "workers": workers, "networks": list(networks)}
    with ExitStack() as stack:
        path = folder and folder / f"run_{run}"
        try:
            if path:
                _make_folder(path, networks)
                (path / "run.json").write_text(json.dumps(content))
                file = stack.enter_context((path / "run.json").open("a"))
                with suppress(OSError):  # the file system has no locks
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            logger.info(
                f"{error.filename or path} cannot be written ({error.strerror}): the progress shows only how "
                f"many networks are done, and `murmur watch` does not show run {run}"
            )
            path = None
        yield path


def _make_folder(path: Path, networks: Sequence[tuple[int, int | None]]) -> None:
    """Make an empty folder for a run, and the plots of its networks."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    names = [f"{name_files(*network)}.tsv" for network in networks]
    for name in names:  # DVC plots an empty table, but not a missing one
        (path / name).write_text(HEADER)
    plots = [
        {title: {"x": "epoch", "y": {f"{path.name}/{name}": column for name in names}}}
        for title, column in PLOTS.items()
    ]
    (path.parent / "dvc.yaml").write_text(json.dumps({"plots": plots}, indent=1) + "\n")


def read_run(path: Path) -> RunState | None:
    """Read the progress of a run from its folder; None if it cannot be read."""
    try:
        content = json.loads((path / "run.json").read_text())
        fits = [_read_fit(path, *network) for network in content.pop("networks")]
        return TypeAdapter(RunState).validate_python(content | {"fits": fits})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_fit(path: Path, fold: int, inner: int | None) -> dict[str, object]:
    fit: dict[str, object] = {"fold": fold, "inner": inner}
    try:
        return fit | json.loads((path / f"{name_files(fold, inner)}.json").read_text())
    except FileNotFoundError:  # not started
        return fit


def is_training(path: Path) -> bool:
    """Return whether the run of this folder is trained at present: its process has locked run.json."""
    try:
        with (path / "run.json").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def read_curve(path: Path, fit: FitState, column: str) -> list[float]:
    """Read a column of a network's epochs; a line that is not complete yet is left out."""
    try:
        lines = (path / f"{name_files(fit.fold, fit.inner)}.tsv").read_text().splitlines(keepends=True)
        return [float(line.split("\t")[COLUMNS.index(column)]) for line in lines[1:] if line.endswith("\n")]
    except (OSError, ValueError, IndexError):
        return []
