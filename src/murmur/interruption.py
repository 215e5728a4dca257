"""Ending a stage or command on a signal, as of Ctrl-C: at once, with one line and without incomplete outputs.

Nothing is raised: libraries catch some exceptions, and an exception waits until threads have finished.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
INTERVAL = 0.5  # s
ATTEMPTS = 20  # at a clean-up; a thread may still be writing into a folder that is being removed
STARTED_BY = "MURMUR_STARTED_BY"  # environment variable: the process of the command that started DVC
SHOW_CURSOR = b"\x1b[?25h"  # a progress bar hides it

_clean_ups: list[Callable[[], object]] = []
_is_ending = threading.RLock()


def handle_signals() -> None:
    """End this process at a signal of `SIGNALS`, with status 128 + the number of the signal.

    First, the clean-ups of all blocks of `clean_up_on_signal` that are running are called. Signals that are
    ignored, as by nohup, remain so. A stage also ends if DVC, which started it, has ended, or the command of
    murmur that started DVC.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, _: _end(number))
    threading.Thread(target=_watch, args=(reader, _find_parent()), daemon=True).start()


@contextmanager
def clean_up_on_signal(clean_up: Callable[[], object]) -> Iterator[None]:
    """Call a function if a signal ends the process within this block; the latest block comes first.

    Parameters
    ----------
    clean_up : callable
        Called without arguments, again after an error. It must not wait for a lock: the main thread may be
        anywhere within the block. It may return what the user can do then, for the line that is printed.
    """
    _clean_ups.append(clean_up)
    try:
        yield
    finally:
        _clean_ups.remove(clean_up)


def _find_parent() -> int | None:
    """Return the number of the DVC process that started this stage, 0 if it has ended; None outside DVC."""
    if "DVC_STAGE" not in os.environ:
        return None
    parent = os.getppid()  # of a process whose parent has ended: one that belongs to another session
    with suppress(ProcessLookupError):
        if os.getsid(parent) == os.getsid(0):
            return parent
    return 0


def _has_command_ended() -> bool:
    """Return whether the command of murmur that started DVC, such as `murmur tune`, has ended."""
    try:
        os.kill(int(os.environ.get(STARTED_BY, os.getpid())), 0)  # sends no signal, only checks
    except ProcessLookupError:
        return True
    except OSError:  # a process of another user
        return False
    return False


def _watch(reader: int, parent: int | None) -> None:
    """End this process at a signal that the main thread does not handle, and at the end of its parent."""
    number = 0
    while number not in SIGNALS:  # others, such as SIGCHLD of a library, arrive here too
        if select.select([reader], [], [], INTERVAL)[0]:
            number = os.read(reader, 1)[0]
        elif parent is not None and (os.getppid() != parent or _has_command_ended()):
            os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(INTERVAL)  # the main thread handles the signal, unless it is in a long call of a C library
    _end(number)


def _end(number: int) -> None:
    """Clean up, print one line and end this process."""
    _is_ending.acquire()  # never released: other threads wait here; a second signal starts again
    remedy = ""
    for clean_up in reversed(_clean_ups):
        for _ in range(ATTEMPTS):
            try:
                result = clean_up()
                remedy = result if isinstance(result, str) else remedy
                break
            except Exception:  # noqa: BLE001  # the process ends anyway
                time.sleep(0.02)
    with suppress(OSError):  # the terminal is closed
        for stream in (1, 2):
            os.write(stream, SHOW_CURSOR * os.isatty(stream))
        line_end = "\n" * os.isatty(2)  # of a progress bar
        os.write(2, f"{line_end}{_describe(remedy)}\n".encode())
    os._exit(128 + number)


def _describe(remedy: str) -> str:
    folder, script = os.path.split(sys.argv[0])
    if not folder.endswith("stages"):
        return f"interrupted: this command left no incomplete output; {remedy or 'run it again'}"
    stage = os.environ.get("DVC_STAGE", script.removesuffix(".py"))
    return (
        f"interrupted: stage {stage} left no incomplete output; "
        "the finished stages are kept, and the same command goes on with this one"
        + (remedy and f"; {remedy}")
    )
