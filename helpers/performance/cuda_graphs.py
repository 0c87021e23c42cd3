"""CUDA graphs: a GPU repeats recorded work without the host, on tensors that stay in place."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from model.inputs import Inputs
from model.modules.label_map import LabelMap

T = TypeVar("T")


def fixed_shapes(inputs: Inputs) -> dict[str, Tensor | LabelMap]:
    """The encoder's input with one shape for all batches of a size, however many objects and words they have."""
    return {name: x.filled() if isinstance(x, LabelMap) else x for name, x in inputs.items()}


@contextmanager
def recordable() -> Iterator[None]:
    """Keeps autocast from caching copies of weights, which would be freed before a graph is replayed."""
    precision, enabled = torch.get_autocast_dtype("cuda"), torch.is_autocast_enabled("cuda")
    with torch.autocast("cuda", precision, enabled, cache_enabled=False):
        yield


def warm_up(work: Callable[[], Any]) -> None:
    """Runs work once before its capture, because it may compile or allocate work spaces."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()
    torch.cuda.current_stream().wait_stream(stream)


def capture(work: Callable[[], T], pool: Any = None) -> tuple[Callable[[], None], T]:
    """Records work without running it.

    Args:
        work: reads and changes tensors that stay in place.
        pool: of memory, shared by graphs that never run at the same time.

    Returns:
        A function that replays the work, and the tensors that will hold its results.
    """
    graph = torch.cuda.CUDAGraph()
    # "thread_local": the loader's thread may pin memory during the capture.
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        results = work()
    return graph.replay, results
