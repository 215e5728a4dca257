"""Results of folds from the files that the stage train wrote, in place of their training."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

CODE = """

from murmur.experiments.cached_folds import replace_training  # added by `murmur accept`

fit_one_network = replace_training(fit_one_network, fold={fold}, project={project!r})
"""


def replace_training(fit: Callable[..., Any], fold: int, project: str) -> Callable[..., Any]:
    """Replace the training of networks, but for those of one fold, by reading their results.

    Parameters
    ----------
    fit : callable
        `murmur.training.run.fit_one_network`.
    fold : int
        The fold that is trained.
    project : str
        The folder of the project, with the files of the run.
    """

    @wraps(fit)
    def fit_or_read(run: Any, network: Any, weights: Path, folder: Path | None = None, **options: Any) -> Any:
        from murmur.training.live import Recorder

        if network.fold == fold:
            return fit(run, network, weights, folder, **options)
        Recorder(folder, *network).finish()
        return _read_network(run, network, weights, Path(project))

    return fit_or_read


def _read_network(run: Any, network: Any, weights: Path, project: Path) -> Any:
    """Read the result of a network, and write its weights as its training does.

    Of several networks of a fold only the mean is in the files. It is taken as the result of each of them:
    the mean of these is the same number.
    """
    import pandas as pd

    from murmur.tables.predictions import FIGURES, read_training_info
    from murmur.training import run as training

    name = f"run_{run.run}"
    path = project / f"data/predictions/{name}.murmur_predictions.parquet"
    role = run.roles[network.fold][network.inner or 0]
    table, info = pd.read_parquet(path), read_training_info(path)
    rows = table[table["fold"] == network.fold].set_index("unit_id")
    rows = rows.loc[list(run.units[training._predicted_units(role)])]  # noqa: SLF001
    figures = rows[list(FIGURES)].to_numpy("float32")
    if run.options.keep_weights == "best" and training._predicts_test(run, network):  # noqa: SLF001
        _write_weights(run, network, weights, project / f"models/{name}.murmur_weights")
    return training.NetworkResult(
        probabilities=rows[[f"p_{name}" for name in run.classes]].to_numpy("float32"),
        figures=None if rows[list(FIGURES)].isna().all(axis=None) else figures,
        tracks=_read_tracks(table, network, role, project / f"data/tracks/{name}.murmur_tracks.npy"),
        history=_read_history(network, project / f"data/history/{name}.murmur_history.csv"),
        device=info.device,
        precision=info.precision,
    )


def _read_tracks(table: Any, network: Any, role: Any, path: Path) -> Any:
    """Read the tracks of the test part of a fold; None if the network has none."""
    import numpy as np

    tracks = np.load(path)
    folds = table.loc[table["role"] == "test", "fold"].to_numpy()
    return tracks[folds == network.fold] if len(tracks) and (role == "test").any() else None


def _read_history(network: Any, path: Path) -> Any:
    import pandas as pd

    history = pd.read_csv(path)
    is_chosen = history["fold"] == network.fold
    return history[is_chosen if network.inner is None else is_chosen & (history["inner"] == network.inner)]


def _write_weights(run: Any, network: Any, weights: Path, stored: Path) -> None:
    from safetensors.torch import load_file

    from murmur.training import live
    from murmur.training import run as training
    from murmur.training.saved_weights import select_network

    tensors = load_file(stored / f"fold_{network.fold}.safetensors")
    if network.inner is not None:
        of_fold = [other for other in training.list_networks(run) if other.fold == network.fold]
        kept = [other for other in of_fold if training._predicts_test(run, other)]  # noqa: SLF001
        tensors = select_network(tensors, f"{kept.index(network)}.")
    training._write_weights(tensors, weights / f"{live.name_files(*network)}.safetensors")  # noqa: SLF001
