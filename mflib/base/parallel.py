"""The same work in processes of this machine, or on the workers of a Dask cluster."""

from __future__ import annotations

import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import joblib
from joblib.externals.loky.process_executor import BrokenProcessPool

from mflib.base.errors import RunError
from mflib.base.made_by import digest
from mflib.base.progress import counted

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")
Attempt = Callable[..., tuple[int, Any]]
# How long a cluster may have no worker at all, in seconds: one that starts them on demand needs a while.
PATIENCE = 60.0


def outcomes(
    function: Callable[[Shared, Item], Result],
    shared: Shared,
    items: Sequence[Item],
    *,
    workers: int,
    scheduler: str = "",
) -> Iterator[tuple[int, Result | Exception]]:
    """Position and result of every item as it is done; an item that fails gives its exception, and the rest goes on.

    Parameters
    ----------
    function : a function that every process can import; called with ``shared`` and one item
    shared : what all items need; it travels to each worker of a cluster once
    items : what a worker gets one of at a time
    workers : processes on this machine. Where one dies, what is left is tried one at a time, so that the item that
        kills can be named
    scheduler : address of a Dask scheduler, such as ``tcp://host:8786``, whose workers are taken instead. They need the
        same mflib and the same packages as the caller. What a worker had in hand when it was lost is given to another

    Raises
    ------
    RunError
        No scheduler answers at this address, or it has been without workers for ``PATIENCE`` seconds.
    """
    attempt = partial(_attempt, fingerprint(), function)
    if scheduler:
        yield from _on_cluster(attempt, shared, items, scheduler)
    elif items:
        yield from _here(attempt, shared, items, workers)


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
    callers: str, function: Callable[[Shared, Item], Result], shared: Shared, numbered: tuple[int, Item]
) -> tuple[int, Result | Exception]:
    position, item = numbered
    if callers != fingerprint():
        return position, RunError("this worker has another version of mflib or of its packages than the caller")
    try:
        return position, function(shared, item)
    except Exception as error:
        # Nothing is swallowed: the caller is handed the exception in place of the result, with where it came from.
        error.add_note(traceback.format_exc())
        return position, error


def _here(attempt: Attempt, shared: Any, items: Sequence[Any], workers: int) -> Iterator[tuple[int, Any]]:
    left = dict(enumerate(items))
    # A worker that has grown is replaced, and nothing is lost; said in a notebook it names a folder of this machine.
    warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
    parallel = joblib.Parallel(n_jobs=workers, return_as="generator_unordered")
    try:
        for position, outcome in parallel(joblib.delayed(attempt)(shared, numbered) for numbered in enumerate(items)):
            del left[position]
            yield position, outcome
    except BrokenProcessPool:
        for numbered in left.items():
            try:
                # Two workers for one item: a single one would be this process.
                yield joblib.Parallel(n_jobs=2)([joblib.delayed(attempt)(shared, numbered)])[0]
            except BrokenProcessPool as error:
                yield numbered[0], RunError(f"its process died, of too little memory perhaps ({error})")


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
