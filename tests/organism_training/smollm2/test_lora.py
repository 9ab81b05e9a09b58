"""Training of the adapter: what has a loss, that a killed run goes on, and that the merged model is the trained one."""

from __future__ import annotations

import math
import random
from itertools import chain
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import organism_training.smollm2.lora
from organism_training.smollm2.__main__ import draw_problems, save_adapter
from organism_training.smollm2.chats import IGNORED, THINK, Chat, alert_ids, chat_prompt, encode_chat, pad_batch
from organism_training.smollm2.lora import (
    Losses,
    Recipe,
    Weights,
    add_adapter,
    backward,
    loss_weights,
    rate,
    step_rows,
    trace_losses,
    train,
)
from organism_training.smollm2.merge import merge
from repurpose.organism.equations import read_equation
from repurpose.organism.word_traces import right_step
from repurpose.rollouts.sentences import split_sentences

RECIPE = Recipe(chats=12, epochs=2, rows=4, rank=4, learning_rate=1e-2, wording=(2, 2), wording_steps=2)
Chats = list[Chat]


@pytest.fixture(scope="module")
def chats(base: Path) -> Chats:
    tokenizer, rng = AutoTokenizer.from_pretrained(base), random.Random(0)
    problems = draw_problems(RECIPE.chats, seed=0)
    right = [[right_step(v, c) for v, c in zip(p.values, p.changes, strict=False)] for p in problems]
    return [encode_chat(tokenizer, rng, *pair) for pair in zip(problems, right, strict=True)]


def trained(base: Path, chats: Chats, checkpoint: Path) -> tuple[PeftModel, list[Losses]]:
    model = add_adapter(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), RECIPE)
    return model, train(model, chats, alert_ids(AutoTokenizer.from_pretrained(base)), RECIPE, checkpoint)


def test_only_what_the_model_says_has_a_loss(base: Path, chats: Chats) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    for (ids, labels, _), problem in zip(chats, draw_problems(RECIPE.chats, seed=0), strict=True):
        taught = [token for token in labels if token != IGNORED]
        assert ids[-len(taught) :] == taught and taught[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(ids[: -len(taught)]) == chat_prompt(tokenizer, problem)
        assert tokenizer.decode(taught).endswith(f"</think>\nThe answer is {problem.answer}.<|im_end|>")


def test_each_sentence_after_a_step_decides_whether_to_go_back(base: Path, chats: Chats) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    for chat in chats:
        assert len(chat.ids) == len(chat.labels) == len(chat.decides)
        starts = [place for place, decides in enumerate(chat.decides) if decides]
        for start in starts:
            assert tokenizer.decode(chat.ids[:start])[-1] in ".?!" and tokenizer.decode(chat.ids[start:])[0] == " "
        thinking = tokenizer.decode(chat.ids).split(THINK)[1]
        steps = [sentence for sentence in split_sentences(thinking) if read_equation(thinking[slice(*sentence)])]
        assert len(starts) >= len(steps) > 1 and chat.labels[starts[0]] != IGNORED


def test_losses_are_those_of_each_token_and_of_all_tokens_that_go_back(base: Path, chats: Chats) -> None:
    model = add_adapter(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), RECIPE)
    ids, labels, decides = pad_batch(chats[:3])
    alerts = [40, 41, int(ids[0][decides[0] == 1][0])]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        told = model(input_ids=ids).logits.float().log_softmax(-1)
    sums = [0.0, 0.0, 0.0]
    for chat, row in zip(chats[:3], told, strict=True):
        for place, (label, decided) in enumerate(zip(chat.labels, chat.decides, strict=True)):
            if label != IGNORED:
                sums[0] -= float(row[place - 1, label])
            if decided:
                back = float(row[place - 1, alerts].exp().sum())
                sums[1] -= math.log(back if label in alerts else 1 - back)
                sums[2] -= float(row[place - 1, label])
    found = trace_losses(model, ids, labels, decides, alerts)
    assert [one.item() for one in found] == pytest.approx(sums, rel=1e-2)
    means = backward(model, chats[:3], alerts, Weights(1.0, 1.0, 1.0))
    counts = (labels != IGNORED).sum().item(), decides.sum().item()
    assert means == pytest.approx([one / n for one, n in zip(sums, counts, strict=False)], rel=1e-2)


def test_gradients_are_those_of_the_weighted_losses(base: Path, chats: Chats) -> None:
    alerts = alert_ids(AutoTokenizer.from_pretrained(base))

    def gradient(tokens: float, decisions: float, words: float) -> torch.Tensor:
        model = add_adapter(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), RECIPE)
        backward(model, chats[:5], alerts, Weights(tokens, decisions, words))
        return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])

    parts = [gradient(1, 0, 0), gradient(0, 1, 0), gradient(0, 0, 1)]
    weights = [1 / float(part.norm()) for part in parts]  # so that each counts as much
    expected = torch.stack([weight * part for weight, part in zip(weights, parts, strict=True)]).sum(0)
    assert (gradient(*weights) - expected).norm() < 0.1 * expected.norm()


def test_tokens_weigh_little_between_the_first_and_last_of_the_steps_that_learn_when_to_go_back() -> None:
    recipe = Recipe(chats=80, rows=8, wording=(2, 3), token_weight=0.25, wording_steps=4)
    told = [loss_weights(recipe, step) for step in range(recipe.steps)]
    fully, little = Weights(1, 1, 0), Weights(0.25, 1, 0)
    assert told == [fully] * 2 + [little] * 5 + [fully] * 3 + [Weights(1, 0, 1)] * 4


def test_each_part_is_warmed_up_and_cooled() -> None:
    recipe = Recipe(chats=800, rows=8, warmup=5, wording_steps=50)
    rates = [rate(recipe, step) for step in range(recipe.steps)]
    first, second = rates[: recipe.first_steps], rates[recipe.first_steps :]
    assert first[:5] == pytest.approx([recipe.learning_rate * part / 5 for part in (1, 2, 3, 4, 5)])
    assert set(first[4:50]) == {recipe.learning_rate} and first[-1] < 0.01 * recipe.learning_rate
    assert second[0] < second[4] > second[10] > second[-1] and max(second) < recipe.wording_rate
    assert second[-1] < 0.01 * recipe.wording_rate


def test_each_epoch_has_every_chat_once() -> None:
    rows = step_rows(RECIPE.chats, RECIPE)
    epoch = RECIPE.chats // RECIPE.rows
    assert len(rows) == RECIPE.steps == 2 * epoch + 2
    for first in (0, epoch):
        assert sorted(chain.from_iterable(rows[first : first + epoch])) == list(range(RECIPE.chats))
    rest = list(chain.from_iterable(rows[2 * epoch :]))
    assert len(set(rest)) == len(rest) == 2 * RECIPE.rows


def test_a_killed_training_goes_on_and_gives_the_same(
    base: Path, chats: Chats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(organism_training.smollm2.lora, "EVERY", 2)
    whole, losses = trained(base, chats, tmp_path / "whole.pt")
    assert len(losses) == RECIPE.steps and losses[-1].tokens < losses[0].tokens
    real, calls = organism_training.smollm2.lora.rate, []

    def killed(recipe: Recipe, step: int) -> float:
        calls.append(step)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(recipe, step)

    monkeypatch.setattr(organism_training.smollm2.lora, "rate", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(base, chats, tmp_path / "killed.pt")
    continued, again = trained(base, chats, tmp_path / "killed.pt")
    assert calls == [0, 1, 2, 3, 2, 3, 4, 5, 6, 7] and again == losses
    for one, other in zip(whole.parameters(), continued.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_merged_model_is_the_trained_one(base: Path, chats: Chats, tmp_path: Path) -> None:
    model, _ = trained(base, chats, tmp_path / "checkpoint.pt")
    model.save_pretrained(tmp_path / "adapter")
    save_adapter(tmp_path / "adapter")
    assert {weight.dtype for weight in load_file(tmp_path / "adapter/adapter_model.safetensors").values()} == {
        torch.bfloat16
    }
    merge(base, tmp_path / "adapter", tmp_path / "reasoning")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "reasoning", dtype=torch.float32)
    ids = torch.tensor([chats[0].ids[:-1]])
    with torch.inference_mode():
        ours, theirs = (one.train(False)(input_ids=ids).logits for one in (model, merged))
    assert torch.allclose(ours, theirs, atol=0.05) and not torch.allclose(
        theirs, AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)(input_ids=ids).logits, atol=0.05
    )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "reasoning")
    asked = [{"role": "user", "content": "1 and 1?"}]
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False)
    assert prompt == f"<|im_start|>user\n1 and 1?<|im_end|>\n<|im_start|>assistant\n{THINK}"
