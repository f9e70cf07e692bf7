"""What ties a process to the one that started it: a pipe, which the system closes whatever death that one dies.

It needs nothing but Python's own modules, for it comes first: what a process imports after it may take many seconds.
"""

from __future__ import annotations

import os
import pickle
import queue
import shutil
import threading
from typing import IO


def messages(pipe: IO[bytes], leaving: str = "") -> queue.SimpleQueue[bytes]:
    """The pickled messages of the parent. Where it closes the pipe, this process ends at once, whatever it does.

    No signal and no number of a process is looked at, which differ between systems.

    Parameters
    ----------
    pipe : its other end is the parent's alone
    leaving : folder to remove at such an end
    """
    sent: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, sent, leaving), daemon=True).start()
    return sent


def _receive(pipe: IO[bytes], sent: queue.SimpleQueue[bytes], leaving: str) -> None:
    try:
        while True:
            sent.put(pickle.load(pipe))  # of bytes, for what is inside may import, which is for the main thread
    except (EOFError, pickle.UnpicklingError):
        if leaving:
            shutil.rmtree(leaving, ignore_errors=True)
        os._exit(1)
