"""Threads work in order, stop at the first error and leave nothing running."""

import threading
import time

import pytest

from murmur import workers
from murmur.errors import MurmurError


def fail_at(bad, done):
    def work(k):
        time.sleep(0.01)
        if k == bad:
            raise MurmurError(f"item {k}")
        done.append(k)
        return -k

    return work


@pytest.mark.parametrize("run", [workers.threads, workers.stream])
def test_results_keep_their_order(run, monkeypatch):
    monkeypatch.setenv("MURMUR_WORKERS", "3")
    assert list(run(fail_at(None, []), range(20), "working")) == [-k for k in range(20)]
    assert list(run(fail_at(None, []), [], "working")) == []


@pytest.mark.parametrize("run", [workers.threads, workers.stream])
def test_the_first_error_ends_the_work_and_the_bar(run, monkeypatch):
    monkeypatch.setenv("MURMUR_WORKERS", "2")
    done, before = [], threading.active_count()
    with pytest.raises(MurmurError, match="item 5") as caught:
        list(run(fail_at(5, done), range(200), "working"))
    assert threading.active_count() <= before and caught.value, "while the error is kept, no thread is"
    assert set(range(5)) <= set(done) and len(done) < 30


def test_a_stream_runs_little_ahead(monkeypatch):
    monkeypatch.setenv("MURMUR_WORKERS", "2")
    done = []
    results = workers.stream(fail_at(None, done), range(100), "working")
    next(results)
    time.sleep(0.2)
    assert len(done) <= 5
    results.close()
    assert len(done) <= 5


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", ""])
def test_a_wrong_number_of_workers_is_told(monkeypatch, value):
    monkeypatch.setenv("MURMUR_WORKERS", value)
    with pytest.raises(MurmurError, match="MURMUR_WORKERS: expected a number of workers"):
        workers.count()
