"""Imported only by the fork server, before all else: it ends when the process that started it ends.

By itself it would notice this only after its imports, and then unload all modules.
"""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1  # of Linux; the processes that the server forks do not inherit it
if parent := os.environ.get("MURMUR_FORK_SERVER_OF"):
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent != str(os.getppid()):  # it has ended already
        os._exit(1)
