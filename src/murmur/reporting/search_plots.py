"""Optuna's pictures of a search."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import optuna
from matplotlib.axes import Axes
from optuna.trial import TrialState, create_trial
from optuna.visualization import matplotlib as plots

from murmur.experiments.search_results import BASE, Results

LEAST = 4  # complete trials
LONG = 8  # characters of a tick label that is rotated


def draw_search(results: Results, metric: str, folder: Path) -> list[Path]:
    """Draw the history, the importance of each parameter, and the score by the value of each parameter.

    Only complete trials are drawn, with the numbers of the table.

    Parameters
    ----------
    results : Results
        The results of the search.
    metric : str
        The label of the scores.
    folder : Path
        Where history.png, importances.png and slice.png are written.

    Returns
    -------
    list of Path
        The pictures; none for fewer than `LEAST` complete trials.
    """
    if sum(trial.state == TrialState.COMPLETE for trial in results.trials) < LEAST:
        return []
    study = optuna.create_study(direction=results.study.direction)
    study.add_trials([create_trial(state=TrialState.FAIL), *results.trials])  # number 0 is the base
    drawings: dict[str, Callable[..., Any]] = {
        "history": plots.plot_optimization_history,
        "importances": plots.plot_param_importances,
        "slice": plots.plot_slice,
    }
    paths = []
    for name, draw in drawings.items():
        with warnings.catch_warnings(), plt.style.context("default"):
            warnings.simplefilter("ignore")  # these functions are experimental; scores that are all equal
            axes = np.atleast_1d(draw(study, target_name=f"{metric}, validation"))
            if name == "history":
                axes[0].axhline(results.base, color="grey", linestyle="--", label=BASE)
                axes[0].legend()
            if name == "slice":
                _rotate_long_labels(axes)
            axes[0].figure.savefig(folder / f"{name}.png", dpi=120, bbox_inches="tight")
            plt.close(axes[0].figure)
        paths.append(folder / f"{name}.png")
    return paths


def _rotate_long_labels(axes: np.ndarray) -> None:
    """Rotate the values of a choice, such as models with their options."""
    ax: Axes
    for ax in axes:
        for label in ax.get_xticklabels():
            if len(label.get_text()) > LONG and "$" not in label.get_text():  # $: of a logarithmic axis
                label.set(rotation=30, horizontalalignment="right")
