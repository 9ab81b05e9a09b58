"""studies/paper.yaml through every rule, with two small random models and small counts.

Nothing else is changed, but for the address of the labelling model: there is no network here. The models bear the
study's own hub names and revisions, on a hub on loopback that wants a token for the base model.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import yaml
from server import ROOT, python
from tests.endpoint import KEY, serve
from tests.hub import Hub, Repository
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from repurpose.data.files import read_table
from repurpose.study.catalogue import AGREEMENT_FIGURES, FIGURES, TABLES
from repurpose.study.study_file import load_values

pytestmark = [pytest.mark.slow, pytest.mark.vllm]
SPECIAL = ("<|begin_of_text|>", "<|end_of_text|>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>")
SPECIAL += ("<｜Assistant｜>", "<think>", "</think>")
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<｜User｜>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜><think>\n{% endif %}"
)
LAYERS = 32
TOKEN = "hf_canary-5d1e0b7a92"


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Words of the prompts, every byte, and the special tokens of Llama-3.1 and R1-Distill-Llama."""
    text = (ROOT / "resources" / "prompts" / "ten-categories.jsonl").read_text()
    words = sorted({word for word in text.split() if word.isascii() and word.isalpha()})[:300]
    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*SPECIAL, *bytes_, *(f"Ġ{word}" for word in words), "ĠWait", "ĠHmm"]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(dict.fromkeys(pieces))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=SPECIAL[0],
        eos_token=SPECIAL[1],
        additional_special_tokens=list(SPECIAL[2:]),
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE,
    )


def make_model(folder: Path, seed: int, tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(seed)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": LAYERS, "num_attention_heads": 2}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "max_position_embeddings": 2048, "num_key_value_heads": 1}
    config = LlamaConfig(vocab_size=len(tokenizer), **shape, **ends, initializer_range=0.05)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def small_paper(url: str) -> dict[str, Any]:
    """The published study with other counts; without the size of its models, because these are small."""
    study = load_values(ROOT / "studies" / "paper.yaml")
    del study["pair"]["parameters"]
    study["prompts"] |= {"train": 10, "heldout": 10}
    study["rollouts"] |= {"max_new_tokens": 160, "shards": 1}
    study["labels"]["steered_prompts"] = 2
    study["labels"]["annotators"]["gpt-4o"]["llm"]["endpoint"]["base_url"] = url
    study["vectors"] |= {"random_directions": 2, "covariance_directions": 2, "shuffles": 2, "split_halves": 4}
    study["permutations"] |= {"directions": 4, "passages": 1, "rivals": 2}
    study["statistics"]["bootstrap"] = 50
    for sweep in study["sweeps"].values():
        sweep |= {"prompts": 2, "max_new_tokens": 24}
    return study


def random_models(folder: Path) -> dict[str, Repository]:
    """Small models under the names and commits of the study's."""
    pair, tokenizer = small_paper("")["pair"], make_tokenizer()
    for seed, role in enumerate(("base", "reasoning")):
        make_model(folder / role, seed, tokenizer)
    return {
        pair[role]: Repository(folder / role, pair[f"{role}_revision"], gated=role == "base")
        for role in ("base", "reasoning")
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, models = tmp_path_factory.mktemp("paper"), tmp_path_factory.mktemp("models")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "-s", ROOT / "Snakefile", "--configfile"]
    with serve(model="gpt-4o-2024-11-20") as endpoint, Hub(random_models(models), TOKEN) as hub:
        (folder / "study.yaml").write_text(yaml.safe_dump(small_paper(endpoint.url)))
        named = {"OPENAI_API_KEY": KEY, "REPURPOSE_PYTHON_VLLM": str(python())}
        environment = {**hub.environment(models / "cache", TOKEN), **named}
        done = subprocess.run([*command, "study.yaml"], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_table_and_figure_is_there(finished: Path) -> None:
    results = finished / "results" / "paper"
    wanted = [f"tables/{name}.csv" for name in TABLES]
    wanted += [f"figures/{name}.svg" for name in (*FIGURES, *AGREEMENT_FIGURES)]
    wanted += ["report.html", "claims.csv", "parity/base.json", "parity/reasoning.json"]
    assert not [name for name in wanted if not (results / name).stat().st_size]


def test_what_was_steered_was_steered_by_vllm_at_each_position(finished: Path) -> None:
    sweeps = sorted((finished / "results" / "paper" / "sweeps").rglob("*.parquet"))
    whole = [file for file in sweeps if file.stem in ("base", "reasoning")]
    assert len(whole) == 7 and len(sweeps) == 9  # two jobs share the baselines
    for file in sweeps:
        rows = read_table(file)
        steered = rows.filter(pl.col("direction") != "none")
        assert steered.height and (steered["steered_positions"] == steered["expected_positions"]).all()
        assert (steered["steered_positions"] >= steered["prompt_tokens"]).all()
        assert (rows.filter(pl.col("direction") == "none")["steered_positions"] == 0).all()
    assert read_table(finished / "results/paper/rollouts/0.parquet")["engine"].unique().to_list() == ["vllm"]


def test_the_site_is_the_published_one(finished: Path) -> None:
    text = (finished / "results" / "paper" / "selection.json").read_text()
    assert '"layer": 10' in text and '"window_start": -13' in text and '"magnitude": 12.0' in text


def test_key_and_token_stand_in_no_file(finished: Path) -> None:
    files = [path for path in finished.rglob("*") if path.is_file()]
    assert len(files) > 100
    for secret in (KEY, TOKEN):
        assert not [path for path in files if secret.encode() in path.read_bytes()]
