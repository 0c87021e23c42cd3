"""Released files: their tensors go into networks, and a file that is not the released one is named in a line."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from common.errors import UserError
from experts.base import RuntimeConfig
from experts.depth import dpt
from experts.detection import unidet
from experts.edge import dexined
from experts.normal import nll_angmf
from experts.ocr import charnet
from experts.weight_loading import released_network
from tests.experts.tiny_clip import save_clip, save_pca


def build() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def load(state: dict, folder: Path) -> nn.Module:
    torch.save(state, folder / "net.pt")
    return released_network(folder / "net.pt", build)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("nested", [False, True])
def test_a_network_takes_the_tensors_of_a_file(prefix, nested, tmp_path):
    state = {prefix + key: value + 1 for key, value in build().state_dict().items()}
    network = load({"model": state, "epoch": 3} if nested else state, tmp_path)
    assert torch.equal(network[0].weight, state[f"{prefix}0.weight"])
    assert network(torch.ones(1, 3, 2, 2)).shape == (1, 4, 2, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"1.bias": None}, r"another network \(1 keys differ; '1\.bias' is missing, expected \(4,\)"),
        ({"more": torch.ones(2)}, r"another network .*'more' is \(2,\), expected none"),
        ({"0.bias": torch.ones(5)}, r"another network .*'0\.bias' is \(5,\), expected \(4,\)"),
        ({"0.bias": torch.ones(4).to(torch.int8)}, r"'0\.bias' is int8, not floating-point"),
        ({"0.bias": torch.full((4,), torch.nan)}, r"'0\.bias' holds values that are not finite"),
        ({"0.bias": 1}, "holds no state dict"),
    ],
)
def test_weights_of_another_network_are_named_with_a_key(change, message, tmp_path):
    state = {key: value for key, value in (build().state_dict() | change).items() if value is not None}
    with pytest.raises(UserError, match=rf"net\.pt: .*{message}") as error:
        load(state, tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "damaged"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: torch.save([1, 2], path), "holds no state dict"),
    ],
)
def test_a_file_that_is_not_whole_is_one_line(spoil: Callable[[Path], None], message: str, tmp_path: Path):
    load(build().state_dict(), tmp_path)
    spoil(tmp_path / "net.pt")
    with pytest.raises(UserError, match=rf"^{tmp_path}/net\.pt: .*{message}.*download_checkpoints\.py") as error:
        released_network(tmp_path / "net.pt", build)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("backend", [dpt, nll_angmf, dexined, unidet, charnet], ids=lambda module: module.__name__)
@pytest.mark.parametrize(
    "content", [{"model": {"x": torch.ones(2)}}, {"pretrained.model.pos_embed": torch.ones(3, 5)}]
)
def test_each_backend_names_a_file_of_another_network(backend: ModuleType, content: dict, tmp_path: Path):
    options = backend.Options()
    if backend is charnet:
        (tmp_path / charnet.LEXICON).write_text("stop\n")
        save_pca(tmp_path / "clip_pca.npz")
        options = backend.Options(str(save_clip(tmp_path / "clip")))
    path = backend.files([], options, tmp_path)[0]
    torch.save(content, path)
    with pytest.raises(UserError, match="weights of another network") as error:
        backend.load([], options, RuntimeConfig(torch.device("cpu"), tmp_path))
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
