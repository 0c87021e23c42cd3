"""Worker processes of a run. None of them outlives the run, however it ends.

A worker does not notice by itself that the run is gone. Python gives each of them a pipe that closes when the
process that asked for it ends: they watch that pipe.

Terminals and clusters send signals to all processes at once. Workers and the fork server block them: the run
needs both to finish its work, and kills the workers itself.
"""

import atexit
import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any
from weakref import WeakSet

import psutil

# Windows has no SIGHUP, and cannot block signals: there, Ctrl-C ends the workers at once.
STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_CAN_BLOCK = hasattr(signal, "pthread_sigmask")
_started: WeakSet[BaseProcess] = WeakSet()
_job: Callable | None = None  # in a worker of `parallel_map`


def parallel_map(
    job: Callable, items: Iterable, num_workers: int, *, chunksize: int = 1, fresh: bool = False
) -> Iterator:
    """Results of a job on each item, in order, from several processes.

    The workers run until the last result is taken, or the iterator is closed.

    Args:
        job: is sent once to each process.
        items: are sent to the processes.
        num_workers: processes; 0 does it in this one.
        chunksize: the number of items sent at once.
        fresh: the processes are new ones that share no memory with this one.
    """
    if num_workers == 0:
        yield from map(job, items)
        return
    context = multiprocessing.get_context("spawn" if fresh else None)
    pool = ProcessPoolExecutor(num_workers, context, initializer=_begin, initargs=(job,))
    try:
        with starting() as workers:
            results = pool.map(_do, items, chunksize=chunksize)
        yield from results
    except (KeyboardInterrupt, GeneratorExit):
        _kill(workers)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(job: Callable) -> None:
    global _job
    _job = job
    end_with_the_run()


def _do(item: object) -> object:
    return _job(item)


def end_with_the_run() -> None:
    """For the start of a worker: it is killed when the process that asked for it ends."""

    def no_trace_of_the_end(kind: type[BaseException], *rest: Any) -> None:
        # The connection breaks when the run ends while it fetches a result.
        if not issubclass(kind, ConnectionError | EOFError):
            sys.__excepthook__(kind, *rest)

    def watch() -> None:
        multiprocessing.parent_process().join()
        psutil.Process().kill()

    sys.excepthook = no_trace_of_the_end
    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def starting() -> Iterator[list[BaseProcess]]:
    """Processes that start meanwhile block signals and are killed when this one exits; yields a list of them."""
    if multiprocessing.get_start_method() != "fork":
        resource_tracker.ensure_running()  # it unblocks signals after its own start
    mine: list[BaseProcess] = []
    others = set(multiprocessing.active_children())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING) if _CAN_BLOCK else ()
    try:
        yield mine
    finally:
        mine += set(multiprocessing.active_children()) - others
        _started.update(mine)
        atexit.unregister(end_workers)  # the last registered runs first: others wait for workers
        atexit.register(end_workers)
        if _CAN_BLOCK:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_workers() -> None:
    """Kills all workers of this process."""
    _kill(_started.intersection(multiprocessing.active_children()))


def _kill(workers: Iterable[BaseProcess]) -> None:
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler takes their end for an error
    for worker in workers:
        worker.kill()
