"""Explanations of the terms of the report."""

from collections.abc import Mapping
from typing import Any

from murmur.circor_weights import CIRCOR_PATIENTS, CIRCOR_WEIGHTS
from murmur.reporting.descriptions import capitalise, name_resampled_units
from murmur.reporting.result_tables import name_column

RUNS = {
    "kfold": (
        "A run divides the data into {folds} folds. Each fold is the test part of one model, which is "
        "trained on the other folds, so that a run tests all data once. The next run divides the data again."
    ),
    "holdout": "A run draws one test part and trains one model, its only fold, on the rest.",
    "role": (
        "A run trains one model, its only fold, on the training part that the data set names. The next run "
        "starts from other random numbers."
    ),
    "file": "Folds and runs are those of the published split; each fold has one model and one test part.",
}
INNER = (
    "The training part of a fold is divided into {n} inner folds. Each of {n} networks is trained without "
    "one inner fold, and predicts it. The decision is fitted on these predictions."
)
WEIGHTS = ", ".join(f"{name} counts {n}" for name, n in CIRCOR_WEIGHTS.items())
OFFICIAL = ", ".join(f"{n} {name}" for name, n in CIRCOR_PATIENTS.items())
METRICS = {
    "weighted_accuracy_official": (
        f"Correct predictions over all, where {WEIGHTS} (the score of the PhysioNet challenge 2022), as if "
        f"the classes were as frequent as in the whole CirCor data set: {OFFICIAL}."
    ),
    "macc": "The mean of sensitivity and specificity with the rules of the PhysioNet challenge 2016.",
    "accuracy": "The share of correct predictions.",
    "uar": "The mean over the classes of the share that is predicted correctly.",
    "sensitivity": "Of the {level}s that are {positive}, the share that is predicted as such.",
    "specificity": "Of all other {level}s, the share that is not predicted as {positive}.",
    "f1_macro": "The mean over the classes of F1, the harmonic mean of precision and recall.",
    "roc_auc": (
        "Of two {level}s, one of a class and one not: the probability that the first has the higher score "
        "for this class{of}."
    ),
}


def explain_terms(details: Mapping[str, Any]) -> dict[str, str]:
    """Explain the terms of the report, in the order in which a reader meets them.

    Parameters
    ----------
    details : mapping
        The content of metrics/details.json.

    Returns
    -------
    dict of str to str
        By term.
    """
    level, protocol, always = details["level"], details["protocol"], details["baseline"]["answer"]
    classes = details["data"]["classes"]
    values = {
        "level": level,
        "folds": protocol["folds"],
        "positive": " or ".join(details["data"]["positive"]),
        "of": "; mean over the classes" if len(classes) > 2 else "",
    }
    return {
        "Person, patient": (
            "A person is the human being who was recorded, a patient is a number in the data set. One person "
            "can have several patient numbers."
        ),
        "Unit": f"What gets one prediction and counts once: here a {level}.",
        "Fold, run": RUNS[protocol["method"]].format(**values),
        **({"Inner fold": _explain_inner_folds(protocol)} if protocol.get("inner") else {}),
        "Mean, SD": f"Mean and standard deviation of the scores of the runs, here {protocol['runs']}.",
        "95 % interval": (
            f"The range of the score if the {name_resampled_units(details)} are drawn again at random, with "
            "replacement (bootstrap). It shows how uncertain the score is, given the number of persons."
        ),
        f"Always {always}": (
            f"Constant-class baseline: the score of predicting {always} for every {level}, the best of such "
            "predictions. A model that is not clearly above it has learned nothing useful."
        ),
        **{capitalise(name_column(name)): METRICS[name].format(**values) for name in details["headline"]},
    }


def _explain_inner_folds(protocol: Mapping[str, Any]) -> str:
    """How inner folds are used, and which networks predict the test part."""
    networks = "the mean of these networks"
    if n := protocol.get("refit"):
        more = "one more network" if n == 1 else f"the mean of {n} more networks"
        networks = f"{more}, trained on the whole training part"
    return f"{INNER.format(n=protocol['inner'])} The test part is predicted by {networks}."
