"""The same work in processes of this machine, or on the workers of a Dask cluster."""

from __future__ import annotations

import atexit
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import joblib

from mflib.base.errors import RunError
from mflib.base.made_by import digest
from mflib.base.progress import counted

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")
Attempt = Callable[..., tuple[int, Any]]
Tell = Callable[[Any], None]
Worker = subprocess.Popen[bytes]
DEATHS = (EOFError, OSError, pickle.UnpicklingError)  # how the death of a process is seen at its pipes
# How long a cluster may have no worker at all, in seconds: one that starts them on demand needs a while.
PATIENCE = 60.0
# How long a process waits for more work, in seconds, before it gives its memory back; starting another takes a few.
IDLE = 300.0
# Each process of this machine has its share of the cores, unless somebody has said otherwise.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
# It finds the modules that its parent finds, and never runs what the parent was started with.
SERVE = (
    "import pickle, sys; sys.path[:] = pickle.loads(pickle.load(sys.stdin.buffer)); "
    "from mflib.base import parent; sent = parent.messages(sys.stdin.buffer); "
    "from mflib.base.parallel import serve; serve(sent)"
)

_idle: list[Worker] = []  # starting one takes seconds, mostly of imports


def outcomes(
    function: Callable[..., Result],
    shared: Shared,
    items: Sequence[Item],
    *,
    workers: int = 1,
    scheduler: str = "",
    environments: Sequence[Mapping[str, str]] = (),
    check: Callable[[], None] = lambda: None,
) -> Generator[tuple[int, Result | Exception], None, None]:
    """Position and result of every item as it is done; an item that fails gives its exception, and the rest goes on.

    Parameters
    ----------
    function : a function that every process can import; called with ``shared`` and one item
    shared : what all items need; it travels to each worker of a cluster once
    items : what a worker gets one of at a time
    workers : processes on this machine, which end when this one does; a single one is this one. Where one dies, what
        it had in hand is tried again, one item at a time, so that the item that kills can be named
    scheduler : address of a Dask scheduler, such as ``tcp://host:8786``, whose workers are taken instead. They need the
        same mflib and the same packages as the caller. What a worker had in hand when it was lost is given to another
    environments : processes of this machine in place of ``workers``, one with each environment, which end with the
        work. The function gets a third argument there: what it calls that with is an outcome too, before the item's own
    check : called every second while processes of this machine work; what it raises ends them

    Raises
    ------
    RunError
        No scheduler answers at this address, or it has been without workers for ``PATIENCE`` seconds.
    """
    attempt = partial(_attempt, fingerprint(), function)
    if scheduler:
        yield from _on_cluster(attempt, shared, items, scheduler)
    elif workers == 1 and not environments:
        yield from map(partial(attempt, shared), enumerate(items))
    elif items:
        yield from _here(partial(attempt, telling=bool(environments)), shared, items, workers, environments, check)


def in_order(
    function: Callable[[Shared, Item], Result],
    shared: Shared,
    items: Sequence[Item],
    label: str,
    *,
    workers: int,
    scheduler: str = "",
) -> list[Result]:
    """The results in the order of the items, with a line of progress that counts them by ``label``; see `outcomes`.

    The first item that fails ends it: its exception is raised, with a note that names the item.
    """
    found: dict[int, Result] = {}
    done = outcomes(function, shared, items, workers=workers, scheduler=scheduler)
    for position, outcome in counted(label, len(items), done):
        if isinstance(outcome, Exception):
            outcome.add_note(f"in {items[position]}")
            raise outcome
        found[position] = outcome
    return [found[position] for position in range(len(items))]


def fingerprint() -> str:
    """Digest of all of mflib and of the packages that it imports, which workers must have as the caller has them."""
    return digest("mflib.cli")


def _attempt(
    callers: str,
    function: Callable[..., Result],
    shared: Shared,
    numbered: tuple[int, Item],
    tell: Tell | None = None,
    *,
    telling: bool = False,
) -> tuple[int, Result | Exception]:
    position, item = numbered
    if callers != fingerprint():
        return position, RunError("this worker has another version of mflib or of its packages than the caller")
    try:
        return position, function(shared, item, tell) if telling else function(shared, item)
    except Exception as error:
        # Nothing is swallowed: the caller is handed the exception in place of the result, with where it came from.
        error.add_note(traceback.format_exc())
        return position, error


def _here(
    attempt: Attempt,
    shared: Any,
    items: Sequence[Any],
    workers: int,
    environments: Sequence[Mapping[str, str]],
    check: Callable[[], None],
) -> Iterator[tuple[int, Any]]:
    """In processes that nothing but a pipe connects with this one.

    Nothing is mapped into shared memory and no semaphore has a name there, so no death of a process leaves any.
    """
    left, threads = dict(enumerate(items)), max(1, joblib.cpu_count() // workers)
    environment = {name: str(threads) for name in THREADS if name not in os.environ}
    call, crew = pickle.dumps((attempt, shared)), [_new(own) for own in environments[: len(items)]]
    crew += [] if environments else [_idle_or_new(environment) for _ in items[:workers]]
    try:
        yield from _side_by_side(crew, call, left, check)
        for process in [] if environments else [process for process in crew if process.poll() is None]:
            with suppress(*DEATHS):
                _send(process, pickle.dumps(None))
            crew.remove(process)
            _idle.append(process)
        # What a process had in hand when it died.
        for position, item in list(left.items()):
            crew.append(process := _new(environments[0] if environments else environment))
            yield from _side_by_side([process], call, alone := {position: item}, check)
            if alone:
                yield position, RunError(f"its process died ({_how_ended(process)}), of too little memory perhaps")
    finally:
        for process in crew:
            _end(process)


def _side_by_side(
    crew: Sequence[Worker], call: bytes, left: dict[int, Any], check: Callable[[], None]
) -> Iterator[tuple[int, Any]]:
    """What processes make of items that each takes one after the other; what is done leaves ``left``."""
    waiting: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    said: queue.SimpleQueue[tuple[int, Any] | Exception | None] = queue.SimpleQueue()
    for numbered in left.items():
        waiting.put(numbered)

    def keep_busy(process: Worker) -> None:
        assert process.stdout is not None
        try:
            _send(process, call)
            while True:
                numbered = waiting.get_nowait()
                _send(process, pickle.dumps(numbered))
                while numbered[0] in left:
                    done, answer = pickle.load(process.stdout)
                    said.put(answer)
                    if done:
                        del left[numbered[0]]
        except (queue.Empty, *DEATHS):
            said.put(None)
        except Exception as error:  # for the thread that can raise it
            said.put(error)

    for process in crew:
        threading.Thread(target=keep_busy, args=(process,), daemon=True).start()
    busy = len(crew)
    while busy:
        try:
            message = said.get(timeout=1.0)
        except queue.Empty:
            check()
            continue
        if isinstance(message, Exception):
            raise message
        if message is None:
            busy -= 1
        else:
            yield message


def _idle_or_new(environment: Mapping[str, str]) -> Worker:
    while _idle:
        process = _idle.pop()
        if process.poll() is None:
            return process
        _end(process)
    return _new(environment)


def _new(environment: Mapping[str, str]) -> Worker:
    """A process that runs `serve` on what `_send` hands it, and that ends with this one."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | dict(environment),
        start_new_session=True,  # an interrupt is for the parent, which ends it
    )
    with suppress(*DEATHS):  # who asks it for something will find out
        _send(process, pickle.dumps(sys.path))
    return process


def _end(process: Worker) -> None:
    process.kill()
    process.communicate()  # closes the streams, also of one that is gone


@atexit.register
def _end_idle() -> None:
    while _idle:
        _end(_idle.pop())


def _how_ended(process: Worker) -> str:
    """By which signal a process has ended, or with which exit code."""
    code = process.wait()
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _send(process: Worker, message: bytes) -> None:
    """Hand a process a pickled message, for `parent.messages` on its side."""
    assert process.stdin is not None
    pickle.dump(message, process.stdin)
    process.stdin.flush()


def serve(sent: queue.SimpleQueue[bytes]) -> None:
    """What a process for `outcomes` does all its life: calls and their items in, outcomes out."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not stand between the answers

    def answer(done: bool, found: tuple[int, Any]) -> None:
        pickle.dump((done, found), answers)
        answers.flush()

    try:
        while True:
            attempt, shared = pickle.loads(sent.get(timeout=IDLE))
            while numbered := pickle.loads(sent.get()):
                tell = partial(lambda position, value: answer(False, (position, value)), numbered[0])
                answer(True, attempt(shared, numbered, tell))
            attempt = shared = None
    except queue.Empty:
        os._exit(0)
    except Exception:
        traceback.print_exc()
        os._exit(1)  # an ordinary end would stumble over the thread that still reads


def _on_cluster(attempt: Attempt, shared: Any, items: Sequence[Any], address: str) -> Iterator[tuple[int, Any]]:
    from distributed import CancelledError, wait

    with _connected(address) as client:
        # As the result of a task it is made anew wherever the worker that held it is lost.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
            held = client.submit(_itself, shared, pure=False)
        futures = {client.submit(attempt, held, numbered, pure=False): numbered[0] for numbered in enumerate(items)}
        seen = time.monotonic()
        while futures:
            try:
                done = wait(list(futures), timeout=min(5.0, PATIENCE), return_when="FIRST_COMPLETED").done
            except TimeoutError:
                if client.scheduler_info()["workers"]:
                    seen = time.monotonic()
                elif time.monotonic() - seen > PATIENCE:
                    raise RunError(f"{address} has no workers; {len(futures)} of {len(items)} tasks are left") from None
                continue
            except CancelledError as error:
                raise RunError(f"{address} was lost; {len(futures)} of {len(items)} tasks are left") from error
            for future in done:
                yield _outcome(future, futures.pop(future))


def check_scheduler(address: str) -> None:
    """Raise ``RunError`` where no Dask scheduler answers at this address."""
    _connected(address).close()


def _connected(address: str) -> Any:
    try:
        # Importing it takes a second, which those without a cluster need not wait.
        from distributed import Client
    except ImportError as error:
        raise RunError("a scheduler wants the extra cluster: pip install 'mflib[cluster]'") from error
    try:
        return Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise RunError(f"found no Dask scheduler at {address} ({error}), expected one as tcp://host:8786") from error


def _outcome(future: Any, position: int) -> tuple[int, Any]:
    try:
        # Where the worker that held it was lost in this moment, this waits until another one has made it again.
        return future.result()
    except Exception as error:
        # What the function raises is in its result; this is a task whose workers die one after the other, and which
        # the scheduler gives up, or one that no worker can read.
        return position, error


def _itself(shared: Shared) -> Shared:
    return shared
