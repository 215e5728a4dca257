"""Properties that hold for any input: segments, folds, arrays on disk and metrics.

`hypothesis` makes the inputs, the same ones in each run, and shows the smallest one that fails.
"""

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from murmur.evaluation import metrics
from murmur.evaluation.weighted_auc import weighted_roc_auc_score
from murmur.features import mel, store
from murmur.features.segmentation import cut_segments
from murmur.sections.segment import Segment
from tests.cohort import CLASSES, split
from tests.spectrograms import change, make_recordings, write

quickly = settings(derandomize=True, deadline=None, max_examples=50, database=None)
with_files = settings(quickly, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
RATE = 10


@quickly
@given(
    sizes=st.lists(st.integers(1, 500), min_size=1, max_size=8),
    length=st.integers(5, 120),
    overlap=st.integers(0, 95),
    minimum=st.integers(0, 130),
    short=st.sampled_from(["drop", "pad", "wrap"]),
)
@example(sizes=[40, 41, 39], length=40, overlap=50, minimum=1, short="drop")
def test_each_sample_is_in_a_segment_or_in_the_piece_that_is_left_out(sizes, length, overlap, minimum, short):
    options = Segment(
        length=length / RATE, overlap=overlap / 100, short=short, min_length=minimum / RATE, first=None,
        first_of=[], mirror=False,
    )  # fmt: skip
    sizes = [*sizes, length]  # one recording is long enough
    names = [f"r{k}" for k in range(len(sizes))]
    signals = pd.DataFrame({"recording_id": names, "n_samples": sizes})
    segments, left_out = cut_segments(signals, pd.Series("ill", index=names), RATE, options)
    least = length if short == "drop" else min(length, max(1, minimum))
    step = max(1, round(length * (1 - overlap / 100)))
    assert segments["segment_id"].is_unique
    for name, n in zip(names, sizes, strict=True):
        rows = segments[segments["recording_id"] == name]
        starts, ends = rows["start"].to_numpy(), (rows["start"] + rows["n_samples"]).to_numpy()
        assert (starts == step * np.arange(len(rows))).all(), "equal steps, without a gap"
        assert (rows["n_samples"][:-1] == length).all() and (ends <= n).all()
        covered = ends.max(initial=0)
        next_start = step * len(rows)
        if name in set(left_out["item"]):
            assert n - next_start < least and covered < n
        else:
            assert covered == n and rows["n_samples"].iloc[-1] >= least


@quickly
@given(x=st.lists(st.integers(-9, 9), min_size=1, max_size=30), more=st.integers(0, 70), wrap=st.booleans())
def test_a_short_segment_is_filled_with_zeros_or_with_itself(x, more, wrap):
    flat = np.array([5, *x, 7], np.float32)
    (row,) = mel.gather_segments(flat, np.array([1]), np.array([len(x)]), len(x) + more, wrap)
    for k, value in enumerate(row):
        assert value == (x[k % len(x)] if wrap or k < len(x) else 0)


@st.composite
def cohorts(draw):
    """Persons with one or two patient ids and one to three recordings each, in any order."""
    per_class = draw(st.lists(st.integers(6, 14), min_size=2, max_size=3))
    rows, number = [], 0
    for label, n_persons in zip(CLASSES, per_class, strict=False):
        for _ in range(n_persons):
            for _ in range(draw(st.integers(1, 3))):
                patient = f"p{number}_{draw(st.integers(0, 1))}"
                rows.append((f"r{len(rows)}", patient, f"h{number}", label))
            number += 1
    table = pd.DataFrame(rows, columns=["recording_id", "patient_id", "person_id", "label"])
    table = table.assign(patient_label=table["label"], role=None)
    return table.sample(frac=1, random_state=draw(st.integers(0, 99)), ignore_index=True)


@settings(quickly, max_examples=20)
@given(table=cohorts(), folds=st.integers(2, 4), inner=st.sampled_from([None, 2]), seed=st.integers(0, 9))
def test_folds_divide_persons_and_classes_evenly(table, folds, inner, seed):
    found = split(table, seed, folds=folds, inner=inner, merge_near_duplicates=False)
    found = found.merge(table, on="recording_id")
    for _, part in found.groupby(["fold", "inner"], dropna=False):
        assert sorted(part["recording_id"]) == sorted(table["recording_id"]), "each once"
        assert (part.groupby("person_id")["role_x"].nunique() == 1).all(), "no person on two sides"
        assert set(part["role_x"]) == {"train", "validation", "test"}
    n_persons = table.groupby("patient_label")["person_id"].nunique()
    test = found[found["role_x"] == "test"].drop_duplicates(["fold", "person_id"])
    assert sorted(test["person_id"]) == sorted(table["person_id"].unique()), "each is tested once"
    counts = test.groupby(["fold", "patient_label"]).size().unstack()
    assert ((counts >= n_persons // folds) & (counts <= -(-n_persons // folds))).all(axis=None)
    if inner:
        validated = found[found["role_x"] == "validation"]
        training = found[(found["role_x"] != "test") & (found["inner"] == 0)]
        columns = ["fold", "recording_id"]
        assert sorted(validated[columns].values.tolist()) == sorted(training[columns].values.tolist())


@with_files
@given(
    shape=st.tuples(st.integers(1, 7), st.integers(1, 2), st.integers(1, 3), st.integers(1, 4)),
    dtype=st.sampled_from(["float16", "float32", "uint8"]),
    cuts=st.sets(st.integers(1, 6)),
    kind=st.sampled_from(["npy", "parquet"]),
)
def test_an_array_is_read_as_it_was_written_in_any_parts(tmp_path, shape, dtype, cuts, kind):
    bits = np.random.default_rng(0).bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize)
    array = np.frombuffer(bits, dtype).reshape(shape)  # any bits: also NaN, infinity and -0
    with store.open_writer(tmp_path / f"a.{kind}", shape, array.dtype) as write_rows:
        for rows in np.split(array, sorted(cut for cut in cuts if cut < len(array))):
            write_rows(rows)
    found = store.read_array(tmp_path / f"a.{kind}")
    assert (found.shape, found.dtype) == (array.shape, array.dtype) and found.tobytes() == bits
    assert isinstance(found, np.memmap) == (kind == "npy")
    if kind == "npy":
        np.save(tmp_path / "b.npy", array)
        assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


@pytest.fixture(scope="module")
def built():
    return make_recordings([9000, 1200, 3777])


@settings(with_files, max_examples=8)
@given(
    batch=st.integers(1, 9),
    piece=st.integers(1, 9),
    workers=st.integers(2, 3),
    options=st.fixed_dictionaries(
        {"format": st.sampled_from(["npy", "parquet"]), "dtype": st.sampled_from(["float16", "float32"])}
    ),
)
def test_spectrograms_do_not_depend_on_batches_and_workers(
    built, tmp_path_factory, batch, piece, workers, options
):
    paths = [tmp_path_factory.mktemp("mel") / f"mel.{options['format']}" for _ in range(3)]
    expected = write(*built, paths[0], change(**options))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mel, "BATCH", batch)
        patch.setattr(mel, "PIECE", piece)
        for path, n in zip(paths[1:], (1, workers), strict=True):
            patch.setenv("MURMUR_WORKERS", str(n))
            found = write(*built, path, change(**options))
            assert found.dtype == options["dtype"] and found.tobytes() == expected.tobytes()
    assert paths[1].read_bytes() == paths[2].read_bytes()


@st.composite
def predictions(draw):
    """True classes, all of which occur, and probabilities with ties; some units have no prediction."""
    n = draw(st.integers(6, 40))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    y = np.append([0, 1, 2], rng.integers(0, 3, n - 3))
    p = rng.dirichlet(np.ones(3), n).round(draw(st.integers(1, 3))) + 0.01
    p /= p.sum(axis=1, keepdims=True)
    is_missing = (rng.random(n) < draw(st.sampled_from([0, 0.2]))) & (np.arange(n) > 2)
    return y, np.where(is_missing, 3, p.argmax(axis=1)), np.where(is_missing[:, None], np.nan, p)


def compute(y, predicted, p, classes=CLASSES):
    counts = metrics.confusion_matrix(y, predicted, len(classes))
    values = metrics.compute_count_metrics(counts, classes, ("Present",))
    values |= metrics.compute_probability_metrics(y, p, classes, ("Present",))
    return {name: float(value) for name, value in values.items()}


@quickly
@given(predictions())
def test_metrics_equal_scikit_learns(case):
    y, predicted, p = case
    found, args = compute(*case), (y, predicted)
    labels = {"labels": [0, 1, 2], "zero_division": 0}
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(*args))
    assert found["matthews"] == pytest.approx(sk.matthews_corrcoef(*args))
    assert found["uar"] == pytest.approx(sk.recall_score(*args, average="macro", **labels))
    assert found["precision_macro"] == pytest.approx(sk.precision_score(*args, average="macro", **labels))
    assert found["f1_macro"] == pytest.approx(sk.f1_score(*args, average="macro", **labels))
    for name in ("precision", "recall", "f1"):
        by_class = getattr(sk, f"{name}_score")(*args, average=None, **labels)
        assert [found[f"{name}_{c}"] for c in CLASSES] == pytest.approx(list(by_class))
    assert found["sensitivity"] == pytest.approx(sk.recall_score(y == 0, predicted == 0))
    assert found["specificity"] == pytest.approx(sk.recall_score(y != 0, np.isin(predicted, [1, 2])))
    known = predicted < 3
    y, p = y[known], p[known]
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(y, p, multi_class="ovr"))
    areas = [sk.average_precision_score(y == k, p[:, k]) for k in range(3)]
    assert found["pr_auc"] == pytest.approx(np.mean(areas))
    assert found["brier"] == pytest.approx(sk.brier_score_loss(y, p, scale_by_half=False))


@quickly
@given(predictions(), st.permutations(range(3)), st.integers(0, 99))
def test_metrics_depend_neither_on_the_order_of_units_nor_of_classes(case, order, seed):
    y, predicted, p = case
    expected = compute(*case)
    rows = np.random.default_rng(seed).permutation(len(y))
    assert compute(y[rows], predicted[rows], p[rows]) == pytest.approx(expected)
    number = np.append(np.argsort(order), 3)  # the new number of each class; 3 is no prediction
    classes = [CLASSES[k] for k in order]
    found = compute(number[y], number[predicted], p[:, list(order)], classes)
    del found["ece"], expected["ece"]  # of two equally probable classes it takes the first
    assert found == pytest.approx(expected)


@quickly
@given(predictions(), st.integers(0, 99))
def test_a_weight_of_two_is_a_unit_that_occurs_twice(case, seed):
    y, _, p = case
    weights = np.random.default_rng(seed).integers(1, 4, len(y))
    found = weighted_roc_auc_score(y, p, weights[None], CLASSES, ("Present",))
    repeated = compute(np.repeat(y, weights), np.repeat(y, weights), np.repeat(p, weights, axis=0))
    assert found == pytest.approx(repeated["roc_auc"])
