"""Threads give results in order, stop at the first error and leave nothing running."""

import math
import threading
import time

import pytest

from murmur import workers
from murmur.errors import MurmurError


def fail_at(failing, done):
    def work(k):
        time.sleep(0.01)
        if k == failing:
            raise MurmurError(f"item {k}")
        done.append(k)
        return -k

    return work


@pytest.mark.parametrize("run", [workers.map_threads, workers.stream_threads])
def test_results_keep_their_order(run, monkeypatch):
    monkeypatch.setenv("MURMUR_WORKERS", "3")
    assert list(run(fail_at(None, []), range(20), "working")) == [-k for k in range(20)]
    assert list(run(fail_at(None, []), [], "working")) == []


@pytest.mark.parametrize("run", [workers.map_threads, workers.stream_threads])
def test_the_first_error_ends_all_threads(run, monkeypatch):
    monkeypatch.setenv("MURMUR_WORKERS", "2")
    done, before = [], threading.active_count()
    with pytest.raises(MurmurError, match="item 5") as caught:
        list(run(fail_at(5, done), range(200), "working"))
    assert threading.active_count() <= before and caught.value, (
        "no thread is left, also while the error is referenced"
    )
    assert set(range(5)) <= set(done) and len(done) < 30


def test_few_items_are_computed_in_advance(monkeypatch):
    monkeypatch.setenv("MURMUR_WORKERS", "2")
    done = []
    results = workers.stream_threads(fail_at(None, done), range(100), "working")
    next(results)
    time.sleep(0.2)
    assert len(done) <= 5
    results.close()
    assert len(done) <= 5


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "", "²", "٣", "1000", "9" * 5000])
def test_a_wrong_number_of_workers_is_refused(monkeypatch, value):
    monkeypatch.setenv("MURMUR_WORKERS", value)
    with pytest.raises(MurmurError, match="MURMUR_WORKERS: expected a number of workers"):
        workers.count_workers()


@pytest.mark.parametrize(
    ("membership", "files", "cpus"),
    [
        ("0::/", {"cpu.max": "max 100000"}, math.inf),
        ("0::/", {"cpu.max": "250000 100000"}, 2.5),
        ("0::/a/b", {"a/cpu.max": "50000 100000", "a/b/cpu.max": "300000 100000"}, 0.5),
        ("0::/../other", {}, math.inf),
        (
            "3:cpu,cpuacct:/docker/1\n0::/",
            {"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"},
            1.5,
        ),
        (
            "3:cpu:/\n1:name=systemd:/a:b",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            math.inf,
        ),
        ("4:cpuset:/", {"cpuset/cpu.cfs_quota_us": "1", "cpuset/cpu.cfs_period_us": "1"}, math.inf),
    ],
)
def test_the_smallest_quota_of_the_control_groups_counts(tmp_path, membership, files, cpus):
    (tmp_path / "cgroup").write_text(membership + "\n")
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text + "\n")
    assert workers.read_cpu_quota(tmp_path / "cgroup", tmp_path / "groups") == cpus
    assert workers.read_cpu_quota(tmp_path / "none", tmp_path) == math.inf


@pytest.mark.parametrize(("quota", "n"), [(math.inf, 4), (2.9, 2), (0.1, 1), (64.0, 4)])
def test_there_are_as_many_workers_as_affinity_and_quota_allow(monkeypatch, quota, n):
    monkeypatch.delenv("MURMUR_WORKERS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(4)))
    monkeypatch.setattr(workers, "read_cpu_quota", lambda: quota)
    assert workers.count_workers() == n
