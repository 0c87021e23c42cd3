"""Data loaders whose workers do not outlive the run."""

import multiprocessing
from typing import Any

from torch.utils.data import DataLoader

from common.workers import end_with_the_run, starting


class Loader(DataLoader):
    """A `DataLoader`; see `common/workers.py` for what its workers do besides reading."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, worker_init_fn=_begin, **options)

    def __iter__(self) -> Any:
        # A fork server, the default since Python 3.14, imports torch once, rather than each worker.
        multiprocessing.set_forkserver_preload(["__main__", __name__])
        with starting():
            return super().__iter__()


def _begin(_worker: int) -> None:
    end_with_the_run()
