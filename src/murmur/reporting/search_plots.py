"""Optuna's pictures of a search."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from optuna import Study
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState
from optuna.visualization import matplotlib as plots

LEAST = 4  # complete trials


def draw_search(study: Study, metric: str, folder: Path) -> list[Path]:
    """Draw the history, the importance of each parameter, and the score by the value of each parameter.

    Parameters
    ----------
    study : optuna.Study
        The search.
    metric : str
        The label of the scores.
    folder : Path
        Where history.png, importances.png and slice.png are written.

    Returns
    -------
    list of Path
        The pictures; none for fewer than `LEAST` complete trials.
    """
    if len(study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])) < LEAST:
        return []
    label = f"{metric}, validation"
    drawings: dict[str, Callable[..., Any]] = {
        "history": plots.plot_optimization_history,
        "importances": plots.plot_param_importances,
        "slice": plots.plot_slice,
    }
    paths = []
    for name, draw in drawings.items():
        with warnings.catch_warnings(), plt.style.context("default"):
            warnings.simplefilter("ignore", ExperimentalWarning)
            axes = np.atleast_1d(draw(study, target_name=label))
            figure = axes[0].figure
            figure.savefig(folder / f"{name}.png", dpi=120, bbox_inches="tight")
            plt.close(figure)
        paths.append(folder / f"{name}.png")
    return paths
