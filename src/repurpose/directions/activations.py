"""Activations: one reader's residual stream before every sentence of a shard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from repurpose.data.command import run_step
from repurpose.data.provenance import provenance
from repurpose.directions.reader import TokenSequence, plan_windows, read_windows
from repurpose.directions.store import spool, write_activations
from repurpose.model.loading import ModelError, load_config, load_model, made_with
from repurpose.model.tokens import check_ids_fit, check_same_ids, load_tokenizer
from repurpose.study.settings import StepSettings

Row = dict[str, Any]


def read_shard(settings: StepSettings, rollouts: Sequence[Row], sentences: Sequence[Row], output: Path) -> None:
    """Read all windows of a shard and write its ACTIVATIONS file."""
    chosen, reader = settings.activations, settings.reader
    check_same_ids(load_tokenizer(settings.pair, "base"), load_tokenizer(settings.pair, "reasoning"))
    layers = asked_layers(chosen.layers, load_config(settings.pair, reader).num_hidden_layers)
    sequences = [TokenSequence(r["prompt_token_ids"] + r["token_ids"], len(r["prompt_token_ids"])) for r in rollouts]
    check_ids_fit([max(s.ids) for s in sequences], settings.pair, reader)
    index = {(r["prompt_id"], r["sample"]): (i, sequences[i]) for i, r in enumerate(rollouts)}
    for row in sentences:
        if (row["prompt_id"], row["sample"]) not in index:
            raise ModelError(f"sentence of {row['prompt_id']}, sample {row['sample']}: no such rollout in the shard")
    windows, keys, dropped = plan_windows(sentences, index, chosen.window_starts, chosen.window_length)
    model = load_model(settings.pair, reader)
    shape = (len(layers), len(keys), model.config.hidden_size)
    total = sum(len(s.ids) for s in sequences)
    with spool(output.parent, *shape, chosen.dtype) as vectors, tqdm(total=total, unit="token") as bar:
        norms = read_windows(model, sequences, windows, layers, chosen.batch_tokens, vectors, bar.update)
        notes = provenance(
            settings.values,
            **made_with(settings.pair, reader),
            dropped_windows=dropped,
            residual_quantiles={str(layer): row.tolist() for layer, row in zip(layers, norms, strict=True)},
            generated_tokens=sum(len(s.ids) - s.prompt for s in sequences),
        )
        write_activations(output, keys, layers, vectors, notes)


def asked_layers(asked: tuple[int, ...] | str, count: int) -> list[int]:
    """Layers to read, ascending; raises ModelError for a layer that the model lacks."""
    layers = list(range(count)) if isinstance(asked, str) else sorted(set(asked))
    if layers[-1] >= count or layers[0] < 0:
        raise ModelError(f"activations.layers: the reader has layers 0 to {count - 1}")
    return layers


def main() -> None:
    with run_step("directions.activations", __doc__, one=["rollouts", "sentences"]) as step:
        rollouts, sentences = step.read("rollouts").to_dicts(), step.read("sentences").to_dicts()
        read_shard(step.settings, rollouts, sentences, Path(step.given.output))


if __name__ == "__main__":
    main()
