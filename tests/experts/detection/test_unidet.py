"""Files that are not the released one are named in a line."""

import pytest
import torch

from experts.base import Setting
from experts.detection import unidet
from model.errors import UserError


def load(folder):
    return unidet.load(["obj_detection"], unidet.Options(), Setting(torch.device("cpu"), folder))


def test_the_file_is_the_released_one(tmp_path):
    names = unidet.files(["obj_detection"], unidet.Options(), tmp_path)
    assert names == [tmp_path / "Unified_learned_OCIM_RS200_6x+2x.pth"]


@pytest.mark.parametrize("content", [{"model": {"a.weight": torch.zeros(3)}}, {"a.weight": torch.zeros(3)}])
def test_weights_of_another_network(tmp_path, content):
    torch.save(content, tmp_path / unidet.FILE)
    with pytest.raises(UserError, match=r"Unified_learned.*weights of another network") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


def test_no_state_dict(tmp_path):
    torch.save([1, 2], tmp_path / unidet.FILE)
    with pytest.raises(UserError, match=r"Unified_learned.*no state dict"):
        load(tmp_path)


def test_a_truncated_file(tmp_path):
    path = tmp_path / unidet.FILE
    torch.save({"model": {"a.weight": torch.zeros(3000)}}, path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"Unified_learned.*fetch it again") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"missing.*download_checkpoints.py --download_experts"):
        load(tmp_path)
