"""Two models of a pair may have embeddings of different heights; what is more in one of them is padding."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from tests.tiny import SELECTED, StepMaker
from torch import nn
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from repurpose.directions.lens import make_lens
from repurpose.directions.unit_directions import read_pair_directions
from repurpose.model.loading import ModelError
from repurpose.model.pair_checks import check_pair
from repurpose.rollouts.check_models import check_models
from repurpose.steering.log_odds import make_log_odds
from repurpose.study.settings import Pair

PADDING = 9


@pytest.fixture(params=["base", "reasoning"])
def padded(request: pytest.FixtureRequest, pair_folders: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The tiny pair, of which one model has rows beyond its tokens that would win wherever they were compared."""
    role = request.param
    return {**pair_folders, role: with_rows(pair_folders[role], tmp_path / role, PADDING)}


def with_rows(folder: str, to: Path, count: int) -> str:
    """A copy of a model with more rows in both embeddings, or with fewer where the count is negative."""
    shutil.copytree(folder, to)
    model = LlamaForCausalLM.from_pretrained(folder)
    for name in ("model.embed_tokens", "lm_head"):
        weight = model.get_parameter(f"{name}.weight").detach()
        loud = 10 * weight.abs().max() * torch.ones(weight.shape[1])
        more = [(-1) ** row * loud for row in range(max(count, 0))]  # either sign: one of two wins
        kept = torch.cat([weight[: len(weight) + min(count, 0)], *(row[None] for row in more)])
        model.get_submodule(name).weight = nn.Parameter(kept)
    model.config.vocab_size += count
    model.save_pretrained(to)
    return str(to)


def test_a_pair_that_differs_by_padding_is_one(
    padded: dict[str, str], make_step: StepMaker, prompt_rows: list[dict[str, Any]]
) -> None:
    settings = make_step("rollouts.check_models", sections={"pair": padded})
    check_models(settings, [row["messages"] for row in prompt_rows], engine=False, machine=False)


def test_the_lens_ranks_a_token_among_those_of_both(
    padded: dict[str, str], pair_folders: dict[str, str], make_step: StepMaker, vector_files: list[str]
) -> None:
    plain, other = (
        make_lens(make_step("directions.lens", sections={"pair": pair}), vector_files, -3)
        for pair in (pair_folders, padded)
    )
    assert plain == other and {row["unembedding"] for row in plain} == {"base", "reasoning"}


@pytest.mark.parametrize("target", ["base", "reasoning"])
def test_log_odds_are_against_the_tokens_of_both(
    padded: dict[str, str],
    pair_folders: dict[str, str],
    make_step: StepMaker,
    vector_files: list[str],
    target: str,
) -> None:
    row = {"prompt_id": "a", "sample": 0, "category": "c", "split": "heldout"}
    rollouts = pl.DataFrame([{**row, "prompt_token_ids": [0, 7, 8], "token_ids": [6, 9, 12, 10, 6, 9]}])
    sentences = pl.DataFrame([{"prompt_id": "a", "sample": 0, "token_start": 3, "status": "ok"}])
    directions = read_pair_directions(vector_files)
    plain, other = (
        list(make_log_odds(make_step(
            "steering.log_odds", sections={"pair": pair, "prompts": {"source": "word-problems"}}, target=target
        ), rollouts, sentences, directions, SELECTED))
        for pair in (pair_folders, padded)
    )  # fmt: skip
    assert len(plain) > 10
    for one, two in zip(plain, other, strict=True):
        assert one == pytest.approx(two, abs=1e-5)


@pytest.mark.parametrize("role", ["base", "reasoning"])
def test_a_token_that_one_of_them_lacks_is_named(pair_folders: dict[str, str], tmp_path: Path, role: str) -> None:
    pair = {**pair_folders, role: with_rows(pair_folders[role], tmp_path / role, -1)}
    with pytest.raises(
        ModelError, match=rf"^pair\.{role}: it has embeddings for \d+ tokens, and '.*' is token \d+ of pair.reas"
    ):
        check_pair(Pair(**pair))


def test_special_tokens_count_where_prompts_have_them(
    pair_folders: dict[str, str], tmp_path: Path, make_step: StepMaker, prompt_rows: list[dict[str, Any]]
) -> None:
    """A finetuned model may have more of them than its base; one that only fills or ends a text is read by nobody."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(pair_folders["reasoning"])
    grown = with_rows(pair_folders["reasoning"], tmp_path / "grown", 2)
    tokenizer.add_special_tokens({"pad_token": "<|pad|>", "additional_special_tokens": ["<|turn|>"]})
    tokenizer.save_pretrained(grown)
    pair = {**pair_folders, "reasoning": grown}
    messages = [row["messages"] for row in prompt_rows]
    settings = make_step("rollouts.check_models", sections={"pair": pair})
    check_models(settings, messages, engine=False, machine=False)
    Path(grown, "chat_template.jinja").write_text("<|turn|>{{ messages[0]['content'] }}")
    with pytest.raises(ModelError, match=r"^pair\.base: token id \d+ is outside the model's \d+ tokens"):
        check_models(settings, messages, engine=False, machine=False)
