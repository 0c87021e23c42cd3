"""Every exception of ours can be made again in another process, as torch does with those of its workers."""

import importlib
import pickle
import pkgutil

import pytest
from torch._utils import ExceptionWrapper

import dataset
import experts
import helpers
import model
from common.errors import UserError


def _ours() -> list[type[BaseException]]:
    for package in (dataset, experts, helpers, model):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    found, new = set(), {BaseException}
    while new:
        new = {cls for parent in new for cls in parent.__subclasses__()} - found
        found |= new
    packages = {"dataset", "experts", "helpers", "model"}
    return sorted((cls for cls in found if cls.__module__.split(".")[0] in packages), key=str)


@pytest.mark.parametrize("cls", _ours(), ids=lambda cls: cls.__name__)
def test_an_exception_survives_a_worker(cls: type[BaseException]) -> None:
    error = cls("image a  b.jpg: no such file")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    try:
        raise error from None
    except BaseException:
        wrapper = pickle.loads(pickle.dumps(ExceptionWrapper(where="in DataLoader worker process 0")))
    with pytest.raises(cls) as caught:
        wrapper.reraise()
    assert type(caught.value) is cls
    if issubclass(cls, UserError):
        assert str(caught.value) == "image a  b.jpg: no such file"


def test_a_users_mistake_is_told_in_one_line() -> None:
    assert str(UserError("image a\nb.jpg: no such file\n")) == r"image a\nb.jpg: no such file"
