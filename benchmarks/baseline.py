"""The baseline of all benchmarks, with our modules' weights.

Attention is matmul, softmax, matmul; steps share no cache; the image's tokens are repeated for every beam and
candidate; logits are computed at every position; label maps have 64 float channels.
"""

from types import SimpleNamespace

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from model.answer_ranking import Ranking
from model.beam_search import Prompt, gather_beams
from model.captioning import MAX_CAPTION_TOKENS, PrismerCaption
from model.decoder import IGNORE, LABEL_SMOOTHING, TextDecoder, causal
from model.encoder import ExpertEncoder, fixed_instance_indices
from model.inputs import Inputs
from model.modalities import BACKGROUND, Kind
from model.modules.attention import Attention
from model.modules.label_map import LabelMap
from model.modules.positions import resize_positions
from model.modules.roberta import DecoderLayer, RobertaLayer, TextAttention
from model.modules.stems import Resize


def attention(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """Attention in three steps.

    Args:
        query: (b, heads, l, c).
        keys: (b, heads, m, c).
        values: (b, heads, m, c).
        mask: float, broadcast over (b, heads, l, m), added to the scores.
        dropout: share of the probabilities that becomes zero.

    Returns:
        (b, heads, l, c).
    """
    scores = query @ keys.transpose(-1, -2) / query.shape[-1] ** 0.5
    if mask is not None:
        scores = scores + mask
    return F.dropout(scores.softmax(dim=-1), dropout) @ values


# The encoder


def embedding_map(label: LabelMap) -> Tensor:
    """The map of embeddings, built in full: (b, 64, L, L)."""
    background = label.table.shape[-2] - 1
    rows = label.index[:, 0].long().masked_fill(label.index[:, 0] == BACKGROUND, background)
    rows = rows.clamp(max=background)  # (b, L, L)
    if label.table.dim() == 2:
        return label.table[rows].permute(0, 3, 1, 2)
    samples = torch.arange(len(rows), device=rows.device)[:, None, None]
    return label.table[samples, rows].permute(0, 3, 1, 2)


def vision_attention(module: Attention, x: Tensor, context: Tensor) -> Tensor:
    """`model.modules.attention.Attention`: (b, l, d) and (b, m, d) -> (b, l, d)."""
    weights, biases = module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3)
    q, k, v = (
        rearrange(F.linear(source, weight, bias), "b l (h c) -> b h l c", h=module.heads)
        for source, weight, bias in zip((x, context, context), weights, biases, strict=True)
    )
    return module.out_proj(rearrange(attention(q, k, v, None, 0.0), "b h l c -> b l (h c)"))


def stem(module: nn.Sequential, label: Tensor) -> Tensor:
    """A stem on a float map (b, c, L, L), however many channels it has."""
    resize: Resize = module[0]
    scale = resize.numerator / resize.denominator
    x = F.interpolate(label, scale_factor=scale, mode="bilinear", align_corners=True)
    for layer in list(module)[1:]:
        x = layer(x)
    return x


def encode(encoder: ExpertEncoder, inputs: Inputs) -> Tensor:
    """`ExpertEncoder.forward`, with the instance embeddings of evaluation: (b, l, d)."""

    def tokens(features: Tensor) -> Tensor:
        positions = resize_positions(encoder.positional_embedding, features.shape[-1])
        return rearrange(features, "b d y x -> b (y x) d") + positions

    x = tokens(encoder.conv1["rgb"](inputs["rgb"]))
    labels = []
    for entry in encoder.modalities:
        label = inputs[entry.name]
        plane = embedding_map(label) if entry.is_label_map else label
        features = stem(encoder.conv1[entry.stem], plane)
        if entry.kind is Kind.INSTANCE:
            ids = F.interpolate(label.index.float(), size=features.shape[-2:]).long()[:, 0]
            features = features + encoder.instance_embedding[fixed_instance_indices(ids.device)[ids]].permute(
                0, 3, 1, 2
            )
        labels.append(tokens(features))
    if labels:
        y = torch.cat(labels, dim=1)
        latents = encoder.resampler.latents.expand(len(y), -1, -1)
        for block in encoder.resampler.perceiver_blocks:
            query = block.ln_1(latents)
            context = torch.cat([query, block.ln_2(y)], dim=1)
            latents = latents + vision_attention(block.attn, query, context)
            latents = latents + block.mlp(block.ln_ff(latents))
        x = torch.cat([x, latents], dim=1)
    x = encoder.ln_pre(x)
    for block, adaptor in encoder.transformer.resblocks:
        normed = block.ln_1(x)
        x = adaptor(x + vision_attention(block.attn, normed, normed))
        x = x + block.mlp(block.ln_2(x))
    return encoder.ln_post(x)


# The decoder


def text_attention(module: TextAttention, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
    """`model.modules.roberta.TextAttention`: (b, l, d) and (b, m, context width) -> (b, l, d)."""
    projections = module.self
    heads = "b l (h c) -> b h l c"
    q = rearrange(projections.query(x), heads, h=module.heads)
    k, v = (rearrange(layer(context), heads, h=module.heads) for layer in (projections.key, projections.value))
    dropout = module.dropout if module.training else 0.0
    return module.output(rearrange(attention(q, k, v, mask, dropout), "b h l c -> b l (h c)"), x)


def decode(decoder: TextDecoder, ids: Tensor, mask: Tensor, encoded: Tensor) -> Tensor:
    """Logits at every position: ids and mask (b, l), encoded (b, n, d) -> (b, l, vocabulary)."""
    x = decoder.roberta["embeddings"](ids, decoder.positions(mask))
    hidden = torch.zeros(len(ids), 1, ids.shape[1], ids.shape[1], device=ids.device)
    hidden = hidden.masked_fill(~causal(mask.bool())[:, None], torch.finfo(torch.float32).min)
    stack = decoder.roberta["encoder"]
    roberta: RobertaLayer
    layer: DecoderLayer
    for layer in stack.layer:
        roberta, cross_attention, adaptor = layer
        x = text_attention(roberta.attention, x, x, hidden)
        x = roberta.transform(adaptor(text_attention(cross_attention, x, encoded, None)))
    x = stack.output_layer.transform(text_attention(stack.output_layer.attention, x, x, hidden))
    return decoder.lm_head(x)


def losses(logits: Tensor, targets: Tensor) -> Tensor:
    """Label-smoothed losses summed over each text: (b, l, vocabulary) and (b, l) -> (b,)."""
    each = F.cross_entropy(
        logits[:, :-1].transpose(1, 2),
        targets[:, 1:],
        ignore_index=IGNORE,
        label_smoothing=LABEL_SMOOTHING,
        reduction="none",
    )
    return each.sum(dim=1)


def caption_loss(model: PrismerCaption, inputs: Inputs, captions: list[str], prefix: str) -> Tensor:
    """`PrismerCaption.forward`: scalar."""
    encoded = encode(model.expert_encoder, inputs)
    ids, mask = (x.to(encoded.device) for x in model.tokens(captions, MAX_CAPTION_TOKENS))
    targets = ids.masked_fill(mask == 0, IGNORE)
    targets[:, : len(model.start_ids(prefix))] = IGNORE
    return losses(decode(model.text_decoder, ids, mask, encoded), targets).mean()


@torch.no_grad()
def rank(decoder: TextDecoder, encoded: Tensor, prompt: Prompt, answers: Tensor, mask: Tensor, k: int) -> Ranking:
    """`model.answer_ranking.rank`."""
    probabilities = decode(decoder, prompt.ids, prompt.mask, encoded)[:, -1].softmax(dim=-1)
    kept = probabilities[:, answers[:, 0]].argsort(dim=1, descending=True, stable=True)[:, :k]  # (b, k)
    ids = torch.cat([prompt.ids.repeat_interleave(k, 0), answers[kept.flatten()]], dim=1)  # (b * k, p + t)
    real = torch.cat([prompt.mask.repeat_interleave(k, 0), mask[kept.flatten()]], dim=1)
    targets = ids.masked_fill(real == 0, IGNORE)
    targets[:, : prompt.ids.shape[1]] = IGNORE
    logits = decode(decoder, ids, real, encoded.repeat_interleave(k, 0))
    scores = -losses(logits, targets).view_as(kept) / mask.sum(dim=1)[kept]
    return Ranking(kept.gather(1, scores.argmax(dim=1, keepdim=True))[:, 0], scores, kept)


class Beams(SimpleNamespace):
    """`model.beam_search.Beams`, which reads all beams' whole texts anew at every step."""

    def __init__(self, decoder: TextDecoder, encoded: Tensor, prompt: Prompt) -> None:
        super().__init__(decoder=decoder, encoded=encoded, ids=prompt.ids[:, None], mask=prompt.mask)
        self._read()

    def reserve(self, beams: int, steps: int) -> None:
        """Nothing is kept."""

    def advance(self, parents: Tensor, ids: Tensor) -> None:
        """Goes on with the beams `parents` (b, beams), each with one more token `ids` (b, beams)."""
        self.ids = torch.cat([gather_beams(self.ids, parents), ids[..., None]], dim=2)
        self.mask = F.pad(self.mask, (0, 1), value=1)
        self._read()

    def _read(self) -> None:
        beams = self.ids.shape[1]
        ids = self.ids.flatten(0, 1)  # (b, beams, l) -> (b * beams, l)
        mask, encoded = (x.repeat_interleave(beams, 0) for x in (self.mask, self.encoded))
        logits = decode(self.decoder, ids, mask, encoded)[:, -1]
        self.logits = logits.unflatten(0, (-1, beams))  # (b, beams, vocabulary)
