"""Training from scratch: with the weights of transformers' networks, ours compute the same."""

import re
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModel, RobertaConfig, RobertaForMaskedLM

from common.errors import UserError
from helpers.checkpoints.backbones import TEXT, VISION, clip_vision, find_backbones, load_backbones, roberta
from helpers.checkpoints.load import without_memory
from helpers.checkpoints.released import TEXT_BACKBONES, VISION_BACKBONES
from helpers.checkpoints.weight_files import POSITIONS, differences, fit_positions
from helpers.training.flags import training_parser
from helpers.training.plan import RunPlan, plan_run
from helpers.training.run import Run
from helpers.training.settings import CaptionConfig
from model.captioning import PrismerCaption
from model.config import PrismerConfig, VisionConfig
from model.modules.positions import resize_positions
from model.prismer import Prismer
from model.sizes import Backbones, ModelSize, read_model_size
from tests.helpers.checkpoints.hub_cache import cache_file
from tests.parity import goldens
from tests.parity.seeded_weights import seeded_state_dict

GRID = 3
LM = RobertaConfig(
    vocab_size=378,
    hidden_size=128,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=256,
    max_position_embeddings=66,
    type_vocab_size=1,
    layer_norm_eps=1e-5,
    attn_implementation="eager",
)


def clip_config(patch: int, activation: str) -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=GRID * patch,
        patch_size=patch,
        hidden_act=activation,
        attn_implementation="eager",
    )


def network(patch: int = 16, activation: str = "quick_gelu", resolution: int | None = None) -> PrismerConfig:
    vision = VisionConfig(width=128, layers=2, heads=2, patch_size=patch, activation=activation)
    return PrismerConfig(vision, goldens.TEXT, (), resolution or GRID * patch)


def seeded(model: torch.nn.Module) -> torch.nn.Module:
    model.load_state_dict(seeded_state_dict(model.state_dict()))
    return model.eval()


def openai_names(state: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """CLIP's vision tower as OpenAI stores it, with some of the text tower, out of transformers' weights."""
    state = {key.removeprefix("vision_model."): value for key, value in state.items()}
    tower = {
        "class_embedding": state["embeddings.class_embedding"],
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "proj": torch.zeros(128, 64),
        "conv1.weight": state["embeddings.patch_embedding.weight"],
    }
    for leaf in ("weight", "bias"):
        tower |= {f"ln_pre.{leaf}": state[f"pre_layrnorm.{leaf}"]}
        tower |= {f"ln_post.{leaf}": state[f"post_layernorm.{leaf}"]}
        for layer in range(layers):
            theirs, ours = f"encoder.layers.{layer}", f"transformer.resblocks.{layer}"
            qkv = [state[f"{theirs}.self_attn.{name}_proj.{leaf}"] for name in "qkv"]
            tower[f"{ours}.attn.in_proj_{leaf}"] = torch.cat(qkv)
            tower[f"{ours}.attn.out_proj.{leaf}"] = state[f"{theirs}.self_attn.out_proj.{leaf}"]
            tower[f"{ours}.ln_1.{leaf}"] = state[f"{theirs}.layer_norm1.{leaf}"]
            tower[f"{ours}.ln_2.{leaf}"] = state[f"{theirs}.layer_norm2.{leaf}"]
            tower[f"{ours}.mlp.c_fc.{leaf}"] = state[f"{theirs}.mlp.fc1.{leaf}"]
            tower[f"{ours}.mlp.c_proj.{leaf}"] = state[f"{theirs}.mlp.fc2.{leaf}"]
    text = {"positional_embedding": torch.zeros(77, 64), "transformer.resblocks.0.ln_1.weight": torch.ones(64)}
    text |= {"logit_scale": torch.tensor(4.6), "input_resolution": torch.tensor(48)}
    return {f"visual.{key}": value for key, value in tower.items()} | text


@pytest.fixture
def lm(tmp_path: Path) -> Path:
    """RoBERTa's file, as transformers writes it."""
    seeded(RobertaForMaskedLM(LM)).save_pretrained(tmp_path / "roberta")
    return tmp_path / "roberta"


def vision_file(folder: Path, clip: CLIPVisionModel, form: str) -> Path:
    if form == "transformers":
        clip.save_pretrained(folder)
        return folder
    state = dict(clip.state_dict())
    if form == "openai":
        state = openai_names(state, layers=2)
    else:  # the whole CLIP, as it is on the hub
        state = {f"vision_model.{key.removeprefix('vision_model.')}": value for key, value in state.items()}
        state |= {
            "text_model.embeddings.token_embedding.weight": torch.zeros(5, 4),
            "visual_projection.weight": torch.zeros(64, 128),
            "text_projection.weight": torch.zeros(64, 64),
            "logit_scale": torch.tensor(4.6),
            "vision_model.embeddings.position_ids": torch.arange(GRID * GRID + 1)[None],
        }
    folder.mkdir()
    torch.save(state, folder / "pytorch_model.bin")
    return folder / "pytorch_model.bin"


def imported(config: PrismerConfig, vision: Path, text: Path) -> Prismer:
    torch.manual_seed(0)
    model = Prismer(config, tokenizer=None).eval()
    load_backbones(model, find_backbones(Backbones(str(vision), str(text))))
    return model


@pytest.mark.parametrize(("patch", "activation"), [(16, "quick_gelu"), (14, "gelu")])
@torch.no_grad()
def test_the_vision_tower_computes_what_clip_does(tmp_path, lm, patch, activation):
    clip = seeded(CLIPVisionModel(clip_config(patch, activation)))
    models = [
        imported(network(patch, activation), vision_file(tmp_path / form, clip, form), lm)
        for form in ("transformers", "hub", "openai")
    ]
    for model in models[1:]:  # bitwise equal; new weights are drawn with the same seed
        for key, value in model.state_dict().items():
            assert torch.equal(value, models[0].state_dict()[key]), key
    encoder = models[0].expert_encoder
    for layer in encoder.transformer.resblocks:  # adaptors that add nothing
        for parameter in layer[1].adaptor.up_proj.parameters():
            parameter.zero_()
    rgb = torch.randn(2, 3, GRID * patch, GRID * patch, generator=torch.Generator().manual_seed(0))
    tower = getattr(clip, "vision_model", clip)
    hidden = tower.embeddings.patch_embedding(rgb).flatten(2).transpose(1, 2)
    hidden = tower.pre_layrnorm(hidden + tower.embeddings.position_embedding.weight[1:])  # no class token
    expected = tower.post_layernorm(tower.encoder(inputs_embeds=hidden).last_hidden_state)
    torch.testing.assert_close(encoder({"rgb": rgb}), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_text_tower_computes_what_roberta_does(tmp_path, lm):
    clip = CLIPVisionModel(clip_config(16, "quick_gelu"))
    decoder = imported(network(), vision_file(tmp_path / "clip", clip, "transformers"), lm).text_decoder
    model = RobertaForMaskedLM.from_pretrained(lm).eval()
    ids = torch.tensor([[0, 9, 30, 7, 2], [0, 12, 2, 1, 1]])
    mask = (ids != 1).long()
    x = decoder.roberta["embeddings"](ids, decoder.positions(mask))
    torch.testing.assert_close(x[mask.bool()], model.roberta.embeddings(ids)[mask.bool()])
    visible = torch.ones(2, 5, 5, dtype=torch.bool)
    for ours, theirs in zip(decoder.roberta["encoder"].layer, model.roberta.encoder.layer, strict=True):
        expected = theirs(x)
        x = ours[0](x, visible)
        torch.testing.assert_close(x, expected if torch.is_tensor(expected) else expected[0])
    torch.testing.assert_close(decoder.lm_head(x), model.lm_head(x))


def test_positions_are_those_of_the_patches_resized(tmp_path, lm):
    clip = seeded(CLIPVisionModel(clip_config(16, "quick_gelu")))
    model = imported(network(resolution=96), vision_file(tmp_path / "clip", clip, "hub"), lm)
    table = clip_vision(clip.state_dict())[POSITIONS]
    assert table.shape == (GRID * GRID, 128)
    assert torch.equal(model.expert_encoder.positional_embedding, resize_positions(table, 6))


def test_adaptors_cross_attention_and_output_layer_stay_new(tmp_path, lm):
    clip = seeded(CLIPVisionModel(clip_config(16, "quick_gelu")))
    model = imported(network(), vision_file(tmp_path / "clip", clip, "hub"), lm)
    torch.manual_seed(0)
    new = Prismer(network(), tokenizer=None).state_dict()
    same = {key for key, value in model.state_dict().items() if torch.equal(value, new[key])}
    expected = r"encoder\.layer\.\d+\.[12]\.|resblocks\.\d+\.1\.|output_layer|position_ids"
    assert same == {key for key in new if re.search(expected, key)}
    head = model.text_decoder.lm_head
    assert head.decoder.weight is model.text_decoder.roberta["embeddings"].word_embeddings.weight


@pytest.mark.parametrize(
    ("size", "image_size", "words"),
    [("base", 224, (12, 768, 12)), ("large", 336, (24, 1024, 16)), ("huge", 224, (24, 1024, 16))],
)
def test_every_key_of_the_real_sizes_has_its_place(size, image_size, words):
    entry = read_model_size(f"prismer_{size}")
    vision = entry.vision
    config = PrismerConfig(vision, entry.text, goldens.EXPERTS, 30 * vision.patch_size)
    tower = {
        "hidden_size": vision.width,
        "num_hidden_layers": vision.layers,
        "num_attention_heads": vision.heads,
        "intermediate_size": 4 * vision.width,
        "patch_size": vision.patch_size,
        "image_size": image_size,
    }
    layers, width, heads = words
    masked_lm_config = RobertaConfig(
        vocab_size=50265,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=514,
        type_vocab_size=1,
    )
    with without_memory():
        model = Prismer(config, tokenizer=None).state_dict()
        clip = CLIPModel(CLIPConfig(vision_config=tower, text_config={"num_hidden_layers": 1})).state_dict()
        masked_lm = RobertaForMaskedLM(masked_lm_config).state_dict()
    assert clip["vision_model.embeddings.position_embedding.weight"].device.type == "meta"
    # tied ones are not in safetensors
    del masked_lm["lm_head.decoder.weight"], masked_lm["lm_head.decoder.bias"]
    for state, part in ((clip_vision(clip), VISION), (roberta(masked_lm), TEXT)):
        expected = {key: value for key, value in model.items() if re.match(part, key)}
        fit_positions(state, expected)
        assert differences(state, expected) == ""


def test_the_backbones_of_every_size_are_fetched():
    for size in ("base", "large", "huge"):
        backbones = read_model_size(f"prismer_{size}").backbones
        assert backbones.vision in VISION_BACKBONES
        assert backbones.text in TEXT_BACKBONES
    assert read_model_size("prismer_nano").backbones is None


def test_backbones_of_the_hub_come_from_its_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    names = Backbones("openai/clip-tiny", "roberta-tiny")
    with pytest.raises(UserError, match=r"openai/clip-tiny: .*\.py --download_backbones=True"):
        find_backbones(names)
    with pytest.raises(UserError, match=r"a/b/no such\.bin: no such file or folder"):
        find_backbones(Backbones("a/b/no such.bin", "roberta-tiny"))
    vision = cache_file(tmp_path, names.vision, "pytorch_model.bin")
    text = cache_file(tmp_path, names.text, "model.safetensors")
    assert find_backbones(names) == (vision, text)


def test_another_network_is_one_line(tmp_path, lm):
    clip = vision_file(tmp_path / "clip", CLIPVisionModel(clip_config(14, "gelu")), "hub")
    with pytest.raises(UserError, match=r"not the model's backbone: .*conv1\.rgb\.weight' is") as error:
        imported(network(16), clip, lm)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"not the model's backbone: missing .* unexpected '.*lm_head"):
        imported(network(16), lm, lm)


def new_plan(folder: Path) -> RunPlan:
    """A captioning run from scratch."""
    config = CaptionConfig(
        dataset="coco",
        data_path=folder,
        label_path=folder,
        class_tables=folder,
        experts=[],
        prismer_model="prismer_base",
        image_resolution=GRID * 16,
        freeze="freeze_vision",
        from_scratch=True,
        batch_size_train=1,
        init_lr=1e-4,
        max_epoch=1,
    )
    args = training_parser("", config="caption.yaml").parse_args(["--exp_name", "tiny"])
    return plan_run("caption", PrismerCaption, config, args)


def test_a_run_from_scratch_starts_from_them(tmp_path, lm, monkeypatch, capsys):
    clip = vision_file(tmp_path / "clip", CLIPVisionModel(clip_config(16, "quick_gelu")), "hub")
    backbones = Backbones(str(clip), str(lm))
    size = ModelSize(network().vision, goldens.TEXT, str(goldens.FOLDER / "tokenizer"), backbones)
    monkeypatch.setattr("helpers.training.plan.read_model_size", lambda name: size)
    run = Run(new_plan(tmp_path))
    assert f"weights: {clip} and {lm}, the rest is new\n" in capsys.readouterr().out
    words = RobertaForMaskedLM.from_pretrained(lm).roberta.embeddings.word_embeddings
    assert torch.equal(run.prismer.text_decoder.lm_head.decoder.weight, words.weight)


def test_a_run_without_its_backbones_ends_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"openai/clip-vit-base-patch16: .*--download_backbones=True"):
        new_plan(tmp_path)
