"""The names of a released Mask2Former's weights, and their names in checkpoints of `transformers`."""

import re

from experts.weight_loading import Rules

_BLOCK = r"(layers\.\d+\.blocks\.\d+)"
_PIXEL_LAYER = r"transformer\.(encoder\.layers\.\d+)"

# For each part of the network: the beginning of its names in the file and in the library, and the rest of each
# (see `Rules`). Where there are several names, the file holds these matrices as one, in this order.
_PARTS: tuple[tuple[str, str, dict[str, str | tuple[str, ...]]], ...] = (
    (
        "backbone.",
        "model.pixel_level_module.encoder.",
        {
            r"patch_embed\.proj": "embeddings.patch_embeddings.projection",
            r"patch_embed\.norm": "embeddings.norm",
            # The library computes these from the size of the window.
            _BLOCK + r"\.attn\.relative_position_index": (),
            _BLOCK + r"\.norm1": r"encoder.\1.layernorm_before",
            _BLOCK + r"\.attn\.qkv": tuple(rf"encoder.\1.attention.self.{name}" for name in ("query", "key", "value")),
            _BLOCK + r"\.attn\.relative_position_bias_table": (
                r"encoder.\1.attention.self.relative_position_bias_table"
            ),
            _BLOCK + r"\.attn\.proj": r"encoder.\1.attention.output.dense",
            _BLOCK + r"\.norm2": r"encoder.\1.layernorm_after",
            _BLOCK + r"\.mlp\.fc1": r"encoder.\1.intermediate.dense",
            _BLOCK + r"\.mlp\.fc2": r"encoder.\1.output.dense",
            r"(layers\.\d+\.downsample\.(?:norm|reduction))": r"encoder.\1",
            "norm0": "hidden_states_norms.stage1",
            "norm1": "hidden_states_norms.stage2",
            "norm2": "hidden_states_norms.stage3",
            "norm3": "hidden_states_norms.stage4",
        },
    ),
    (
        "sem_seg_head.pixel_decoder.",
        "model.pixel_level_module.decoder.",
        {
            r"input_proj\.(\d+\.[01])": r"input_projections.\1",
            r"transformer\.level_embed": "level_embed",
            _PIXEL_LAYER + r"\.self_attn\.(\w+)": r"\1.self_attn.\2",
            _PIXEL_LAYER + r"\.norm1": r"\1.self_attn_layer_norm",
            _PIXEL_LAYER + r"\.linear([12])": r"\1.fc\2",
            _PIXEL_LAYER + r"\.norm2": r"\1.final_layer_norm",
            r"(adapter_1|layer_1)\.norm": r"\1.1",
            "(adapter_1|layer_1)": r"\1.0",
            "mask_features": "mask_projection",
        },
    ),
    (
        "sem_seg_head.predictor.",
        "model.transformer_module.",
        {
            "query_feat": "queries_features",
            "query_embed": "queries_embedder",
            "level_embed": "level_embed",
            r"transformer_cross_attention_layers\.(\d+)\.multihead_attn\.(in_proj_\w+|out_proj)": (
                r"decoder.layers.\1.cross_attn.\2"
            ),
            r"transformer_cross_attention_layers\.(\d+)\.norm": r"decoder.layers.\1.cross_attn_layer_norm",
            r"transformer_self_attention_layers\.(\d+)\.self_attn\.in_proj_(weight|bias)": tuple(
                rf"decoder.layers.\1.self_attn.{name}_proj.\2" for name in "qkv"
            ),
            r"transformer_self_attention_layers\.(\d+)\.self_attn\.out_proj": (
                r"decoder.layers.\1.self_attn.out_proj"
            ),
            r"transformer_self_attention_layers\.(\d+)\.norm": r"decoder.layers.\1.self_attn_layer_norm",
            r"transformer_ffn_layers\.(\d+)\.linear([12])": r"decoder.layers.\1.fc\2",
            r"transformer_ffn_layers\.(\d+)\.norm": r"decoder.layers.\1.final_layer_norm",
            "decoder_norm": "decoder.layernorm",
            r"mask_embed\.layers\.(\d)": r"decoder.mask_predictor.mask_embedder.\1.0",
        },
    ),
    ("sem_seg_head.predictor.", "", {"class_embed": "class_predictor"}),
    ("criterion.", "criterion.", {"empty_weight": "empty_weight"}),
)
RULES: Rules = {
    re.escape(released) + pattern: tuple(library + name for name in ((names,) if isinstance(names, str) else names))
    for released, library, part in _PARTS
    for pattern, names in part.items()
}
