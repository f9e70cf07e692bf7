"""The same work in processes of this machine, or on the workers of a Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import joblib

Item = TypeVar("Item")
Result = TypeVar("Result")

# How long a cluster may have no worker at all, in seconds: one that starts them on demand needs a while.
PATIENCE = 60.0


class SchedulerError(RuntimeError):
    """A Dask scheduler that does not answer, or that has no workers."""


def outcomes(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int, scheduler: str = ""
) -> Iterator[tuple[int, Result | Exception]]:
    """Position and result of every item as it is done; an item that fails gives its exception, and the rest goes on.

    Parameters
    ----------
    function : a function that every process can import; called with one item
    items : what a worker gets is pickled
    workers : processes on this machine
    scheduler : address of a Dask scheduler, such as ``tcp://host:8786``, whose workers are taken instead. They need the
        same packages as the caller. What a worker had in hand when it was lost is given to another one

    Raises
    ------
    SchedulerError
        No scheduler answers at this address, or it has been without workers for ``PATIENCE`` seconds.
    """
    attempt = partial(_attempt, function)
    if scheduler:
        yield from _on_cluster(attempt, items, scheduler)
    elif items:
        parallel = joblib.Parallel(n_jobs=workers, return_as="generator_unordered")
        yield from parallel(joblib.delayed(attempt)(numbered) for numbered in enumerate(items))


def _attempt(function: Callable[[Item], Result], numbered: tuple[int, Item]) -> tuple[int, Result | Exception]:
    position, item = numbered
    try:
        return position, function(item)
    except Exception as error:
        # Nothing is swallowed: the caller is handed the exception in place of the result.
        return position, error


def _on_cluster(attempt: Callable[[Any], Any], items: Sequence[Item], address: str) -> Iterator[tuple[int, Any]]:
    # Importing it takes a second, which those without a cluster need not wait.
    from distributed import CancelledError, Client, wait

    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise SchedulerError(
            f"no Dask scheduler answers at {address} ({error}); expected one like tcp://host:8786"
        ) from error
    with client:
        futures = {client.submit(attempt, numbered, pure=False): numbered[0] for numbered in enumerate(items)}
        while futures:
            try:
                done = wait(list(futures), timeout=PATIENCE, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                if client.scheduler_info()["workers"]:
                    continue
                raise SchedulerError(
                    f"{address} has no workers; {len(futures)} of {len(items)} tasks are left"
                ) from None
            except CancelledError as error:
                raise SchedulerError(f"{address} was lost; {len(futures)} of {len(items)} tasks are left") from error
            for future in done:
                position = futures.pop(future)
                # A task whose workers die one after the other is given up by the scheduler.
                yield future.result() if future.status == "finished" else (position, future.exception())
