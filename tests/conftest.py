"""Fixtures that several test files share; tiny data sets are made by made.py."""

import pytest

from murmur import logs


@pytest.fixture(autouse=True)
def _log_messages_on_the_console() -> None:
    """As `run_stage` shows them."""
    logs.show()


@pytest.fixture(params=[1, 2, 3])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The test runs with one, two and three workers."""
    monkeypatch.setenv("MURMUR_WORKERS", str(request.param))
    return request.param


@pytest.fixture
def threads_as_before():
    """Whatever the code under test sets, torch then has as many threads as before."""
    import torch  # 2 s, which most tests need not wait

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
