"""Likelihood: how likely the target, unsteered, finds each steered text; a sweep in, nats per token out.

The prompt is the context, and is read once for all texts that go on from it. What is likely to the model that would
have written the text unsteered is coherent, but for loops, which `metrics.distinct_2` sees. A cell's value is a mean,
so the texts of some prompts give it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import compress

import polars as pl
from tqdm import tqdm
from transformers import PreTrainedModel

from repurpose.data.command import run_step
from repurpose.data.files import TableError
from repurpose.data.schemas import LIKELIHOODS
from repurpose.model.continuations import read_likelihoods
from repurpose.model.loading import load_model, made_with
from repurpose.model.tokens import load_tokenizer, prompt_token_ids
from repurpose.steering.conditions import PROMPTED_AS
from repurpose.study.settings import StepSettings

Ids = tuple[int, ...]


def score_texts(
    model: PreTrainedModel, texts: Mapping[str, Sequence[Ids]], prompts: Mapping[str, Sequence[int]]
) -> Iterator[tuple[tuple[str, Ids], float]]:
    """Yield ((prompt, text), nats per token) for each text of each prompt that is not empty."""
    for prompt, ids in tqdm(sorted(texts.items()), desc="likelihood", unit="prompt", mininterval=2):
        told = sorted({one for one in ids if one})
        for index, nats in read_likelihoods(model, prompts[prompt], told):
            yield (prompt, told[index]), nats


def choose_rows(sweep: pl.DataFrame, prompts: int) -> pl.Series:
    """Which rows of a sweep are read: those of its first prompts, the first sample of each."""
    first = sweep["prompt_id"].unique(maintain_order=True).head(prompts)
    return sweep["prompt_id"].is_in(first.implode()) & (sweep["sample"] == 0)


def encode_prompts(settings: StepSettings, prompts: pl.DataFrame, sweep: pl.DataFrame) -> dict[str, list[int]]:
    """Ids of the prompts that a sweep used; a TableError where they are not as many as it was run with."""
    tokenizer = load_tokenizer(settings.pair, PROMPTED_AS)
    used = dict(sweep.select("prompt_id", "prompt_tokens").unique().iter_rows())
    messages = dict(prompts.select("prompt_id", "messages").iter_rows())
    encoded = {prompt: prompt_token_ids(tokenizer, messages[prompt]) for prompt in sorted(used)}
    for prompt, ids in encoded.items():
        if len(ids) != used[prompt]:
            raise TableError(
                f"prompt {prompt} has {len(ids)} tokens, the sweep was run with {used[prompt]}; run it again"
            )
    return encoded


def main() -> None:
    with run_step("steering.likelihood", __doc__, one=["prompts", "sweep"]) as step:
        settings, sweep = step.settings, step.read("sweep")
        read = choose_rows(sweep, settings.selection.scored_prompts)
        prompts = encode_prompts(settings, step.read("prompts"), sweep.filter(read))
        keys = list(zip(sweep["prompt_id"], map(tuple, sweep["token_ids"]), strict=True))
        texts = defaultdict[str, list[Ids]](list)
        for prompt, ids in compress(keys, read):
            texts[prompt].append(ids)
        found = dict(score_texts(load_model(settings.pair, settings.target), texts, prompts))
        nll = [found.get(key) if is_read else None for key, is_read in zip(keys, read, strict=True)]
        rows = pl.DataFrame({"prompt_id": sweep["prompt_id"], "nll": pl.Series(nll, dtype=pl.Float64)})
        step.write(rows, LIKELIHOODS, **made_with(settings.pair, settings.target))


if __name__ == "__main__":
    main()
