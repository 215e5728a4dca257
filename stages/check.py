"""Check params.yaml before any work is done, and before DVC removes the outputs of another stage."""

from murmur import interruption

if __name__ == "__main__":
    interruption.handle_signals()  # before the slow imports

from pathlib import Path

from murmur import datasets, models
from murmur.errors import MurmurError, run_stage
from murmur.features import bandpass
from murmur.files import write_text
from murmur.models._pretrained import write_hashes
from murmur.models._signatures import check_options, find_weights, labels_frames
from murmur.sections import experiment
from murmur.sections.evaluate import check_metric

COPY = (
    "; `--temp` and `--queue` run in a copy with only the files that git tracks: commit a new model, "
    "name recordings by their absolute path, copy weights with `-C data/weights`"
)


def main() -> None:
    p = experiment.load()
    if p.clean.bandpass:
        bandpass.design_bandpass(p.clean.sample_rate, p.clean.bandpass)
    try:
        weights = _check_names(p)
        experiment.check_files(p)
    except MurmurError as error:
        is_copy = ".dvc/tmp/exps" in Path.cwd().as_posix()
        raise MurmurError(f"params.yaml: {error}{COPY * is_copy}") from None
    write_text("data/checked", "params.yaml is valid.\n")  # always the same: no other stage runs again
    write_hashes(weights)


def _check_names(p: experiment.Params) -> str | None:
    """Check names, unless there is only what this stage depends on; return the file of weights."""
    if known := datasets.list_names():
        if p.dataset not in known:
            raise MurmurError(f"dataset: there is no {p.dataset!r}; there are {', '.join(known)}")
        _check_metric(p)
    if models.list_names():
        check_options(p.train.model.name, p.train.model.options)
        p.train.check_labels_frames(labels_frames(p.train.model.name))
    return find_weights(p.train.model.name, p.train.model.options)


def _check_metric(p: experiment.Params) -> None:
    """Check that the metric that class weights maximise is defined for the classes, where they are known."""
    task = datasets.load_reader(p.dataset).TASKS.get(p.task)
    if task and p.evaluate.thresholds:
        names = dict.fromkeys(p.class_map.get(name, name) for name in task.classes)
        check_metric(p.evaluate.thresholds, [name for name in names if name is not None])


if __name__ == "__main__":
    run_stage(main)
