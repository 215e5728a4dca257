"""What the page states about the model."""

from typing import Any

from murmur.inference.model_info import ModelInfo

METRICS = {
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "roc_auc": "Area under the ROC curve",
    "uar": "Unweighted average recall",
    "weighted_accuracy_official": "Weighted accuracy (official mix)",
    "macc": "Mean of sensitivity and specificity",
    "accuracy": "Accuracy",
    "f1_macro": "F1, macro",
}


def describe_model(info: ModelInfo) -> dict[str, Any]:
    """Describe a model for the page and for the downloads, as JSON values.

    Parameters
    ----------
    info : ModelInfo

    Returns
    -------
    dict
        The classes, what the model was trained on, its performance in the cross-validation, and what it may
        be used for.
    """
    return {
        "classes": list(info.classes),
        "positive": list(info.positive),
        "task": info.data.task,
        "murmur": info.murmur,
        "weights_sha256": info.weights_sha256,
        "intended_use": info.intended_use,
        "simulated": info.data.dataset == "synthetic",
        "data": info.data.model_dump(include={"dataset", "recordings", "patients", "persons", "hours"}),
        "performance": _describe_performance(info),
    }


def _describe_performance(info: ModelInfo) -> dict[str, Any]:
    performance = info.performance
    known = [key for key in METRICS if key in performance.metrics]
    return {
        "level": performance.level,
        "flaws": performance.flaws if performance.leaky else None,
        "runs": performance.runs,
        "baseline": performance.baseline.get("answer"),
        "metrics": [
            {
                "name": METRICS[key],
                **{part: performance.metrics[key].get(part) for part in ("mean", "low", "high")},
                "baseline": performance.baseline.get(key),
            }
            for key in known
        ],
    }
