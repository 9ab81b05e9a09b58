"""Published chains as rollouts: nothing is sampled, and what is stored is what sampling would have.

A chain stands where the generator's own would: behind the prompt under its chat template, in thinking tags where the
template or the vocabulary has them, and with what the model wrote after the thinking where that is published, too. Its
ids are the tokenizer's of that text, cut at `rollouts.max_new_tokens`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from repurpose.data.files import TableError
from repurpose.model.engines import Generated
from repurpose.model.tokens import decode, prompt_token_ids
from repurpose.study.published import END_THINK, Task, read_prompts, tell_left_out

OPEN = "<think>"


class Published(NamedTuple):
    """One chain as the answer to its prompt."""

    row: dict[str, Any]
    """Of the prompt."""
    sample: int
    prompt_ids: list[int]
    generated: Generated
    cut: bool
    """Whether it goes on in the file."""


def read_published(
    file: str, prompts: Sequence[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, longest: int
) -> tuple[list[Published], dict[str, Any]]:
    """Return the chains of PROMPTS rows, with notes on what was cut or left out, which stderr is told, too.

    Raises:
        TableError: where the file lacks a prompt, or no chain is what its ids decode to.
    """
    read = read_prompts(file)
    found, left_out, name = list[Published](), list[str](), Path(file).name
    for row in prompts:
        if row["prompt_id"] not in read.tasks:
            raise TableError(f"{name}: no record is of prompt {row['prompt_id']}; make the prompts again")
        prompt_ids = prompt_token_ids(tokenizer, row["messages"])
        for sample, task in enumerate(read.tasks[row["prompt_id"]]):
            ids = answer_ids(tokenizer, prompt_ids, task)
            if not ids:
                left_out.append(f"prompt {row['prompt_id']}, sample {sample}: the chain is not what its ids decode to")
            else:
                ended = len(ids) <= longest and END_THINK in decode(tokenizer, ids)
                generated = Generated(ids[:longest], "stop" if ended else "length")
                found.append(Published(row, sample, prompt_ids, generated, len(ids) > longest))
    if prompts and not found:
        raise TableError(f"{name}: {left_out[0]}, and so are all {len(left_out)}; is the tokenizer the generator's?")
    cut = sum(one.cut for one in found)
    told = [f"{len(found)} published chains, {cut} of them cut at {longest} tokens"]
    sys.stderr.write("\n".join([*tell_left_out(file, read.left_out + left_out), *told]) + "\n")
    return found, {"published": {"chains": len(found), "cut": cut, "left_out": read.left_out + left_out}}


def answer_ids(tokenizer: PreTrainedTokenizerBase, prompt_ids: list[int], task: Task) -> list[int]:
    """A chain as ids that follow a prompt's; none where they would not decode to its text again."""
    text = chain_text(task, decode(tokenizer, prompt_ids), has_tags(tokenizer))
    text = text.partition(tokenizer.eos_token)[0] if tokenizer.eos_token else text
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids if decode(tokenizer, ids) == text else []


def chain_text(task: Task, prompt: str, tagged: bool) -> str:
    """What the generator would have written behind a prompt, had it written this chain.

    Args:
        prompt: the text under the chat template, which may open the thinking.
        tagged: whether the generator has thinking tags at all.
    """
    thinking = task.thinking
    if thinking.lstrip().startswith(OPEN):
        thinking = thinking.lstrip().removeprefix(OPEN)
    if not tagged:
        return thinking.strip()
    if not prompt.rstrip().endswith(OPEN):
        return f"{OPEN}\n{thinking.lstrip()}{task.rest}"
    return f"{thinking.lstrip() if prompt[-1].isspace() else thinking}{task.rest}"


def has_tags(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a generator marks its thinking: its chat template or its vocabulary has the tags."""
    return END_THINK[2:] in str(tokenizer.chat_template) or OPEN in tokenizer.get_vocab()
