"""CUDA graphs of inference: the encoder and the step of a beam search, recorded once for each shape.

Without graphs a small batch waits for the host, which launches hundreds of kernels for every token.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

from helpers.performance.bf16_blocks import kept_copies
from helpers.performance.cuda_graphs import capture, fixed_shapes, recordable, warm_up
from model.beam_search import Beams
from model.inputs import Inputs
from model.prismer import Prismer

MOST_IMAGES, MOST_BEAMS = 64, 192  # larger batches keep the GPU busy without graphs
MOST_SHAPES = 4  # each graph keeps a batch
TIMES = 2  # a shape is recorded when it comes for the second time


def replay_inference(model: Prismer) -> None:
    """Makes a model replay its encoder and its beam searches. It must be on its GPU and not sharded."""
    model.text_decoder.replay = _Searches(model)
    encoder = model.expert_encoder
    encoder.forward = _Encoder(model, encoder.forward)


def record(work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Runs work once, then records it; see `capture`."""
    with recordable():
        warm_up(work)
        return capture(work)


class _Kept:
    """The graphs of the current weights, by shapes and precision of their inputs."""

    def __init__(self, model: Prismer) -> None:
        self._model = model
        self._seen: Counter[tuple] = Counter()
        self._kept: dict[tuple, Any] = {}
        self._weights = 0

    def of(self, tensors: list[Tensor], make: Callable[[], Any], *more: Any) -> Any | None:
        """The recording of `make` for tensors of these shapes; None while the shapes are new."""
        shapes = tuple((x.shape, x.dtype, x.stride()) for x in tensors)
        precision = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
        weights = sum(x._version + x.data_ptr() for x in self._model.parameters())
        weights += sum(x.data_ptr() for x in kept_copies(self._model))
        if weights != self._weights:  # the recordings are of old weights
            self._kept.clear()
            self._seen.clear()
            self._weights = weights
        key = shapes, precision, torch.is_inference_mode_enabled(), more
        self._seen[key] += 1
        if self._seen[key] < TIMES:
            return None
        if key not in self._kept:
            while len(self._kept) >= MOST_SHAPES:
                self._kept.pop(next(iter(self._kept)))
            self._kept[key] = make()
        return self._kept[key]


class _Encoder:
    """The encoder's forward, replayed."""

    def __init__(self, model: Prismer, forward: Callable[..., Tensor]) -> None:
        self._encoder, self._forward, self._kept = model.expert_encoder, forward, _Kept(model)

    def __call__(self, inputs: Inputs, instance_indices: Tensor | None = None) -> Tensor:
        asked = not (self._encoder.training or torch.is_grad_enabled()) and instance_indices is None
        if not asked or len(inputs["rgb"]) > MOST_IMAGES:
            return self._forward(inputs, instance_indices)
        own = fixed_shapes(inputs)
        leaves, spec = _pytree.tree_flatten(own)

        def make() -> tuple[list[Tensor], Callable[[], None], Tensor]:
            places = [x.clone() for x in leaves]
            inputs = _pytree.tree_unflatten(places, spec)
            return places, *record(lambda: self._forward(inputs))

        if (found := self._kept.of(leaves, make, spec)) is None:
            return self._forward(inputs)
        places, replay, result = found
        for place, value in zip(places, leaves, strict=True):
            place.copy_(value)
        replay()
        return result.clone()


class _Searches:
    """`TextDecoder.replay`, see there."""

    def __init__(self, model: Prismer) -> None:
        self._kept = _Kept(model)

    def __call__(self, beams: Beams, count: int) -> "Beams | _Recorded":
        if len(beams.visible) * count > MOST_BEAMS:
            return beams
        recorded = self._kept.of(beams.tensors(), lambda: _Recorded(beams, count))
        return beams if recorded is None else recorded.begin(beams)


class _Recorded:
    """Beams with a replayed step, which overwrites `logits`."""

    def __init__(self, beams: Beams, count: int) -> None:
        self.logits = beams.logits
        self._tensors = beams.tensors()
        before = [x.clone() for x in self._tensors]
        self._parents, self._ids = beams.visible.new_zeros(2, len(beams.visible), count, dtype=torch.int64)
        self._replay, self._logits = record(lambda: beams.step(self._parents, self._ids))
        for place, value in zip(self._tensors, before, strict=True):
            place.copy_(value)

    def begin(self, beams: Beams) -> "_Recorded":
        """Starts from beams of the same shapes."""
        for place, value in zip(self._tensors, beams.tensors(), strict=True):
            if place is not value:
                place.copy_(value)
        self.logits = beams.logits
        return self

    def advance(self, parents: Tensor, ids: Tensor) -> None:
        """As `Beams.advance`."""
        self._parents.copy_(parents)
        self._ids.copy_(ids)
        self._replay()
        self.logits = self._logits
