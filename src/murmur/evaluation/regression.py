"""The rule `regression`: a logistic regression that predicts a patient from figures of the recordings."""

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import softmax

from murmur import formatting
from murmur.errors import MurmurError
from murmur.evaluation.levels import Units
from murmur.tables.predictions import FIGURES

C = 0.1  # inverse of the strength of the L2 penalty; the figures are standardised
PARTS = 5  # of the cross-fitting
MARGIN = 1e-4  # the probabilities are at least this far from 0 and 1, so that the odds are finite
SMALL = 1e-3  # added to the mean probabilities of a murmur and of systole, so that the ratio is finite
FEW = 100  # patients in a validation part, below which a note is logged
INTERCEPT = "intercept"
SUMMARIES = {  # of the recordings of a patient; top2: the mean of the two highest
    "log_odds": ("max", "top2", "mean"),
    "log_murmur_ratio": ("max", "top2", "mean"),
    "annotated": ("mean", "min", "max"),
    "confidence": ("mean", "min"),
}
COLUMNS = ["run", "fold", "class", "figure", "coefficient"]  # of metrics/regression.csv
KEYS = ["run", "fold", "test", "unit"]
REMEDY = "set split.inner: 5 (then the whole training part is used), or evaluate.rule: mean_probability"


def compute_figures(
    recordings: pd.DataFrame,
    member: np.ndarray,
    classes: tuple[str, ...],
    names: Collection[str] = frozenset(SUMMARIES),
) -> pd.DataFrame:
    """Compute the figures of each patient from the predictions for the recordings.

    Parameters
    ----------
    recordings : DataFrame, n rows
        p_<class>, the probabilities; and, from a network that labels frames,
        `murmur.tables.predictions.FIGURES`. Both are means over the segments.
    member : int array, shape [n]
        The patient of each recording.
    classes : tuple of str
        The classes.
    names : collection of str
        Which of `SUMMARIES` are computed.

    Returns
    -------
    DataFrame
        A row for each patient, in the order of the numbers: of the log odds of each class the maximum, the
        mean of the two highest and the mean over the recordings; with `FIGURES`, the same of the logarithm of
        the ratio murmur / systole; mean, minimum and maximum of annotated, mean and minimum of confidence;
        the number of recordings.

    Raises
    ------
    MurmurError
        If `names` needs `FIGURES` alone, and there are none.
    """
    p = recordings[[f"p_{c}" for c in classes]].to_numpy(float).clip(MARGIN, 1 - MARGIN)
    odds = np.log(p / (1 - p))
    values = {f"log_odds_{c}": (odds[:, k], SUMMARIES["log_odds"]) for k, c in enumerate(classes)}
    values = values if "log_odds" in names else {}
    if has_frame_figures(recordings):
        frames = {name: recordings[name].to_numpy(float) for name in FIGURES}
        frames["log_murmur_ratio"] = np.log((frames["murmur"] + SMALL) / (frames["systole"] + SMALL))
        values |= {
            name: (frames[name], SUMMARIES[name]) for name in SUMMARIES if name in names and name in frames
        }
    if not values:
        raise MurmurError(
            f"evaluate.figures: {', '.join(names)}: the model does not label frames; add log_odds"
        )
    grouped = pd.DataFrame({name: value for name, (value, _) in values.items()}).groupby(member)
    figures = {
        f"{how}_{name}": _summarise(grouped[name], how) for name, (_, hows) in values.items() for how in hows
    }
    return pd.DataFrame(figures | {"recordings": grouped.size().astype(float)}).reset_index(drop=True)


def _summarise(values: Any, how: str) -> pd.Series:
    """Summarise the recordings of each patient, grouped by patient."""
    return values.nlargest(2).groupby(level=0).mean() if how == "top2" else values.agg(how)


def has_frame_figures(predictions: pd.DataFrame) -> bool:
    """Return whether there are `FIGURES`; they are null in predictions of networks that label no frames."""
    return set(FIGURES) <= set(predictions) and bool(predictions[list(FIGURES)].notna().all(axis=None))


def fit_coefficients(
    figures: pd.DataFrame, truth: np.ndarray, unit: np.ndarray, classes: tuple[str, ...]
) -> pd.DataFrame:
    """Fit a multinomial logistic regression with an L2 penalty on the standardised figures.

    Parameters
    ----------
    figures : DataFrame, n rows
        From `compute_figures`.
    truth : int array, shape [n]
        The number of the class; every class occurs.
    unit : int array, shape [n]
        The patient. One with several rows, by different networks, counts as one patient.
    classes : tuple of str
        The classes.

    Returns
    -------
    DataFrame
        The coefficient of each figure as it is (not standardised), and of `INTERCEPT`, for each class:
        p = softmax(figures @ coefficients + intercept).
    """
    from sklearn.linear_model import LogisticRegression  # slow to import, not needed for predictions
    from sklearn.preprocessing import StandardScaler

    weights = 1 / np.bincount(unit)[unit]
    scaler = StandardScaler().fit(figures.to_numpy(), sample_weight=weights)
    model = LogisticRegression(C=C, tol=1e-8, solver="newton-cholesky")
    model.fit(scaler.transform(figures.to_numpy()), truth, sample_weight=weights)
    slopes, intercept = model.coef_ / scaler.scale_, model.intercept_
    if len(classes) == 2:  # scikit-learn gives the logit of the second class
        slopes, intercept = (np.concatenate([np.zeros_like(x), x]) for x in (slopes, intercept))
    table = pd.DataFrame(slopes.T, index=figures.columns, columns=pd.Index(classes))
    table.loc[INTERCEPT] = intercept - slopes @ scaler.mean_
    return table


def predict_probabilities(figures: pd.DataFrame, coefficients: pd.DataFrame) -> np.ndarray:
    """Apply a regression.

    Parameters
    ----------
    figures : DataFrame, n rows
        From `compute_figures`.
    coefficients : DataFrame
        From `fit_coefficients`.

    Returns
    -------
    float array, shape [n, classes]

    Raises
    ------
    MurmurError
        If the regression was fitted to other figures.
    """
    if missing := sorted(set(coefficients.index) - {INTERCEPT, *figures}):
        raise MurmurError(
            f"evaluate.rule: the regression was fitted to the figure {missing[0]}, which these predictions "
            "do not give; make both with the same network: dvc repro"
        )
    slopes = coefficients.drop(index=INTERCEPT)
    values = figures[slopes.index].to_numpy() @ slopes.to_numpy() + coefficients.loc[INTERCEPT].to_numpy()
    return softmax(values, axis=1)


def cross_fit(
    figures: pd.DataFrame, truth: np.ndarray, unit: np.ndarray, group: np.ndarray, classes: tuple[str, ...]
) -> np.ndarray:
    """Predict each patient by a regression that was fitted without that patient's group.

    Parameters
    ----------
    figures, truth, unit, classes
        As for `fit_coefficients`.
    group : int array, shape [n]
        The group: a person, or persons who share audio.

    Returns
    -------
    float array, shape [n, classes]
    """
    part = assign_parts(truth, group)
    p = np.empty((len(figures), len(classes)))
    for k in np.unique(part):
        is_out = part == k
        coefficients = fit_coefficients(figures[~is_out], truth[~is_out], unit[~is_out], classes)
        p[is_out] = predict_probabilities(figures[is_out], coefficients)
    return p


def assign_parts(truth: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Assign whole groups to `PARTS` parts, int [n]; those of each class in turn."""
    class_of_group = pd.Series(truth).groupby(group).min().sort_values(kind="stable")
    return pd.Series(np.arange(len(class_of_group)) % PARTS, class_of_group.index)[group].to_numpy()


def fit_folds(figures: pd.DataFrame, patients: Units, classes: tuple[str, ...]) -> pd.DataFrame:
    """Fit the regression of each fold to its validation part.

    Parameters
    ----------
    figures : DataFrame
        run, fold, test (False: validation), unit, and the figures of the patient.
    patients : Units
        All patients.
    classes : tuple of str
        The classes.

    Returns
    -------
    DataFrame
        run, fold, class, figure, coefficient.

    Raises
    ------
    MurmurError
        If a fold has no validation part, or a class has too few persons in it.
    """
    tables = []
    for (run, fold), part in figures.groupby(["run", "fold"]):
        validation = part[~part["test"]]
        unit = validation["unit"].to_numpy()
        _check_classes(f"run {run}, fold {fold}", patients.truth[unit], patients.group[unit], classes)
        fit = fit_coefficients(validation.drop(columns=KEYS), patients.truth[unit], unit, classes)
        table = (
            fit.rename_axis("figure").reset_index().melt("figure", var_name="class", value_name=COLUMNS[-1])
        )
        tables.append(table.assign(run=run, fold=fold))
    return pd.concat(tables, ignore_index=True)[COLUMNS]


def predict_folds(
    figures: pd.DataFrame, coefficients: pd.DataFrame, patients: Units, classes: tuple[str, ...]
) -> pd.DataFrame:
    """Predict the patients of each fold: those of the test part by the fold's regression.

    Those of the validation part, to which that was fitted, are predicted by `cross_fit`.

    Parameters
    ----------
    figures, patients, classes
        As for `fit_folds`.
    coefficients : DataFrame
        From `fit_folds`.

    Returns
    -------
    DataFrame
        run, fold, test, unit, p_<class>.
    """
    p = np.empty((len(figures), len(classes)))
    row, of_fold = np.arange(len(figures)), dict(list(coefficients.groupby(["run", "fold"])))
    for key, part in figures.groupby(["run", "fold", "test"]):
        run, fold, is_test = key
        rows, unit, values = row[part.index], part["unit"].to_numpy(), part.drop(columns=KEYS)
        if is_test:
            p[rows] = predict_probabilities(values, read_coefficients(of_fold[run, fold], classes))
        else:
            p[rows] = cross_fit(values, patients.truth[unit], unit, patients.group[unit], classes)
    return figures[KEYS].join(pd.DataFrame(p, columns=[f"p_{c}" for c in classes]))


def read_coefficients(table: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    """Return the coefficients of one fold, from the table of `fit_folds`, as `fit_coefficients` does."""
    return table.pivot(index="figure", columns="class", values="coefficient")[list(classes)]


def _check_classes(where: str, truth: np.ndarray, group: np.ndarray, classes: tuple[str, ...]) -> None:
    """Check that each class is left whichever part of the cross-fitting is left out."""
    if not len(truth):
        raise MurmurError(
            f"evaluate.rule: {where} has no validation part to fit the regression to, and the test part is "
            f"not for that; {REMEDY}"
        )
    part = assign_parts(truth, group)
    for k, name in enumerate(classes):
        if len(np.unique(part[truth == k])) < 2:
            n = formatting.format_count(len(np.unique(group[truth == k])), "person")
            raise MurmurError(
                f"evaluate.rule: {where}: the validation part has {n} of class {name}, too few to fit a "
                f"regression; {REMEDY}"
            )
