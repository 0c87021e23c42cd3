"""Before the tests: what they import is settled, so that processes can be forked from theirs."""

import gc

gc.disable()  # objects of imported modules are not looked through for garbage: a tenth of the tests' time


def pytest_collection_finish() -> None:
    """What is imported stays; forked processes share its memory."""
    import torch

    # autograd looks for devices at its first backward. After torch.compile it would find one that is none,
    # and start a thread for it; no process forked later could train.
    torch.zeros(1, requires_grad=True).sum().backward()
    gc.collect()
    gc.freeze()
    gc.enable()
