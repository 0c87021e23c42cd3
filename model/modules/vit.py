"""CLIP's vision transformer with an adaptor in every layer."""

from torch import Tensor, nn
from torch.nn import functional as F

from model.config import VisionConfig
from model.modules.adaptor import VisionAdaptor
from model.modules.attention import Attention
from model.modules.mlp import MLP, quick_gelu
from model.modules.norm import LayerNorm

ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": F.gelu}


class ClipBlock(nn.Module):
    """A layer of CLIP, in two halves: the adaptor comes between them."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.attn = Attention(config.width, config.heads, config.attention_std)
        self.mlp = MLP(config.width, ACTIVATIONS[config.activation])
        self.ln_1 = LayerNorm(config.width)
        self.ln_2 = LayerNorm(config.width)

    def attend(self, x: Tensor) -> Tensor:
        """The attention half: (b, l, d) -> (b, l, d)."""
        return x + self.attn(self.ln_1(x))

    def transform(self, x: Tensor) -> Tensor:
        """The feed-forward half: (b, l, d) -> (b, l, d)."""
        return x + self.mlp(self.ln_2(x))


class VisionLayer(nn.Sequential):
    """One layer of the tower: CLIP's block is child `0`, the adaptor child `1`."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__(ClipBlock(config), VisionAdaptor(config.width, config.adaptors_std))

    def forward(self, x: Tensor) -> Tensor:
        """Attention, adaptor, MLP: (b, l, d) -> (b, l, d)."""
        block, adaptor = self
        return block.transform(adaptor(block.attend(x)))


class VisionTransformer(nn.Module):
    """The tower's layers, `resblocks.<i>`."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(VisionLayer(config) for _ in range(config.layers))

    def forward(self, x: Tensor) -> Tensor:
        """(b, l, d) -> (b, l, d)."""
        for layer in self.resblocks:
            x = layer(x)
        return x
