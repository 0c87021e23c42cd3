"""Recording CUDA graphs: work on a GPU that is done again without the host, on tensors that stay in place."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from model.inputs import Inputs
from model.modules.label_map import LabelMap

T = TypeVar("T")


def alike(inputs: Inputs) -> dict[str, Tensor | LabelMap]:
    """The encoder's input with one shape for all batches of a size, whatever objects and words are seen."""
    return {name: x.filled() if isinstance(x, LabelMap) else x for name, x in inputs.items()}


@contextmanager
def recordable() -> Iterator[None]:
    """Meanwhile autocast keeps no copies of weights: they would be gone when a graph is replayed."""
    precision, enabled = torch.get_autocast_dtype("cuda"), torch.is_autocast_enabled("cuda")
    with torch.autocast("cuda", precision, enabled, cache_enabled=False):
        yield


def warm_up(work: Callable[[], Any]) -> None:
    """Does work once as it must be before it is captured: it compiles, and takes work spaces."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()
    torch.cuda.current_stream().wait_stream(stream)


def capture(work: Callable[[], T], pool: Any = None) -> tuple[Callable[[], None], T]:
    """Records work, without doing it.

    Args:
        work: reads and changes tensors that stay where they are.
        pool: of memory, for graphs that are replayed in turn and may share it.

    Returns:
        What does it, and the tensors where its results will be.
    """
    graph = torch.cuda.CUDAGraph()
    # Others may use the GPU meanwhile: a loader's thread pins memory.
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        results = work()
    return graph.replay, results
