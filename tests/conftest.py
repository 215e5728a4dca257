"""Fixtures of several test files; made.py makes tiny data sets."""

import os
import signal

import pytest
import rich

from murmur import logs

# Test processes run side by side. Threads of OpenMP wait actively: with them torch takes twice the CPU time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
# A shell ignores these for a job in the background, as the tests may be; so would the commands under test.
for number in (signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)

SLOW = (
    *("pipeline", "ci_server", "recipes", "recipe_commands"),
    *("generalisation_commands", "checkout", "failures"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slowest files, so that no test process works alone at the end."""
    order = {f"test_{name}": k for k, name in enumerate(SLOW)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(autouse=True)
def _log_messages_on_the_console() -> None:
    """Log messages and progress are printed on standard output, as in a stage."""
    logs.show_messages()
    rich.reconfigure(stderr=False)


@pytest.fixture(params=[1, 2, 3])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The test runs with one, two and three workers."""
    monkeypatch.setenv("MURMUR_WORKERS", str(request.param))
    return request.param


@pytest.fixture
def threads_as_before():
    """After the test, torch has as many threads as before it."""
    import torch  # takes 2 s, which most tests do not need

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
