"""What a study will take, before anything runs: jobs, rollouts, tokens, annotation, disk, each with its formula.

    python -m repurpose.study.plan studies/mine.yaml

Counts of jobs and rollouts are exact where every vector can be computed. Tokens are upper bounds: every rollout as long
as it may be. What follows from sentences rests on the averages below and is an estimate.
"""

import argparse
import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from repurpose.study.catalogue import AGREEMENT_FIGURES, FIGURES
from repurpose.study.chunks import cut
from repurpose.study.cluster_plan import cluster_lines
from repurpose.study.errors import one_line_errors
from repurpose.study.instructions import read_instructions
from repurpose.study.labellers import labeller, list_steered_labels
from repurpose.study.pair_files import ROLES, check_models, count_to_make, read_configs
from repurpose.study.published import read_prompts
from repurpose.study.resources import asked_of, list_conditions
from repurpose.study.settings import BEHAVIOURS, Llm, Role, SettingsError, Study, locate, names_variants
from repurpose.study.study_file import load_study, naming

TOKENS_PER_SENTENCE = 16
CHARACTERS_PER_TOKEN = 4
ENTRY_TOKENS = 14
"""Of one `{"sentence": 12, "label": "deduction"}`, in a request and in a reply about the same beside the text."""
ROW_BYTES = 100
"""Of a row's columns beside its token ids, text and vector, compressed."""
FLOAT_BYTES = 4
READERS = len(ROLES)
REPOSITORY = Path(__file__).parents[3]


class Item(NamedTuple):
    """One line of the plan."""

    name: str
    value: str
    formula: str


class Shape(NamedTuple):
    """What the reasoning model's configuration says."""

    layers: int
    hidden: int


class Counts(NamedTuple):
    """What the other lines are made of."""

    rollouts: int
    sentences: int
    """An estimate, at most: TOKENS_PER_SENTENCE tokens each, every rollout as long as it may be."""
    steered: dict[tuple[str, Role], int]
    """Steered rollouts by (sweep, target), unsteered rows included."""
    steered_tokens: int


def plan_study(study: Study, shape: Shape) -> list[Item]:
    """The lines of the plan."""
    counts = count(study, shape)
    return [
        plan_jobs(study),
        *plan_generation(study, counts),
        *plan_annotation(study, counts, count_labelled(study, shape)),
        plan_disk(study, shape, counts),
    ]


def count(study: Study, shape: Shape) -> Counts:
    """Rollouts and sentences of a study."""
    rollouts = math.ceil((study.prompts.train + study.prompts.heldout) * _samples(study))
    steered = {
        (name, target): (1 + len(list_conditions(study, sweep, target, shape.layers))) * sweep.prompts * sweep.samples
        for name, sweep in study.sweeps.items()
        for target in sweep.targets
    }
    tokens = sum(rows * study.sweeps[name].max_new_tokens for (name, _), rows in steered.items())
    return Counts(rollouts, rollouts * _sentences(study.rollouts.max_new_tokens), steered, tokens)


def _samples(study: Study) -> float:
    """Rollouts of a prompt; of published ones the mean over the file's."""
    if study.rollouts.file is None:
        return study.rollouts.samples
    tasks = read_prompts(locate(study.rollouts.file)).tasks
    return sum(map(len, tasks.values())) / len(tasks)


def count_labelled(study: Study, shape: Shape) -> int:
    """Steered rollouts that a language model labels for Table C.1, as the step `labels.steered_labels` chooses them."""
    sweep, behaviour = study.sweeps.get(study.labels.steered_sweep), study.vectors.behaviour
    if sweep is None:
        return 0
    conditions = list_conditions(study, sweep, "reasoning", shape.layers)
    chosen = [c for c in conditions if (c.direction, c.reader) == (behaviour, "base")]
    return (1 + len(chosen)) * study.labels.steered_prompts * sweep.samples


def _sentences(tokens: int) -> int:
    return -(-tokens // TOKENS_PER_SENTENCE)


def plan_jobs(study: Study) -> Item:
    """Count Snakemake's jobs by rule."""
    shards, sweeps, annotators = study.rollouts.shards, study.sweeps.values(), study.labels.annotators.values()
    by_rule = {
        "models to make": count_to_make(study),
        "prompts": 1,
        "rollouts": shards,
        "sentences": shards if study.labels.unit == "sentence" else 0,
        "annotated spans": int(study.labels.unit == "span"),
        "labels": len(annotators) + 1,
        "steered labels": len(list(list_steered_labels(study))),
        "comparison of annotators": int(len(annotators) > 1),
        "checks of parity": len({t for sweep in sweeps for t in sweep.targets}) if study.engine == "vllm" else 0,
        "activations": READERS * shards,
        "vectors": READERS,
        "selection, permutations, cosines, lens": 4,
        "variants of the vector": int(names_variants(study)),
        "sweeps, likelihoods, measurements": sum(len(sweep.targets) * (sweep.shards + 2) for sweep in sweeps),
        "merged sweeps": sum(len(sweep.targets) for sweep in sweeps if sweep.shards > 1),
        "log-odds, projections, traces": 3 * READERS,
        "tables, claims, report, explorer, all": 5,
        "figures": len(FIGURES) + len(AGREEMENT_FIGURES) * (len(annotators) > 1),
    }
    formula = " + ".join(f"{number} {name}" for name, number in by_rule.items() if number)
    return Item("jobs", f"{sum(by_rule.values()):,}", formula)


def plan_generation(study: Study, counts: Counts) -> Iterator[Item]:
    """Rollouts and the tokens that are generated for them, at most."""
    prompts, longest = study.prompts.train + study.prompts.heldout, study.rollouts.max_new_tokens
    tokens = counts.rollouts * longest
    made, written = f"{study.rollouts.samples} samples", "new tokens"
    if study.rollouts.file is not None:
        made, written = (
            f"{_samples(study):.3g} published chains of each",
            "tokens, where a chain is cut; none is generated",
        )
    yield Item("rollouts", f"{counts.rollouts:,}", f"{prompts} prompts x {made}")
    yield Item("tokens, at most", f"{tokens:,}", f"{counts.rollouts} rollouts x {longest} {written}")
    each = {name: sweep.prompts * sweep.samples for name, sweep in study.sweeps.items()}
    terms = (f"{n}/{target} {rows // each[n]} conditions x {each[n]}" for (n, target), rows in counts.steered.items())
    yield Item("steered rollouts", f"{sum(counts.steered.values()):,}", " + ".join(terms))
    yield Item("steered tokens, at most", f"{counts.steered_tokens:,}", "rollouts of each sweep x its max_new_tokens")
    yield Item("tokens read, at most", f"{READERS * tokens:,}", f"{READERS} readers x tokens (prompts not counted)")


def plan_annotation(study: Study, counts: Counts, some: int) -> Iterator[Item]:
    """Requests, tokens and cost of each labelling model, in this run alone; `some`: steered rollouts for Table C.1."""
    rollouts = ("rollouts", counts.rollouts, _sentences(study.rollouts.max_new_tokens))
    for name, annotator in study.labels.annotators.items():
        if annotator.llm is not None:
            texts = [rollouts, *_steered_texts(study, counts, name, some)]
            yield from _plan_llm(f"labels.annotators.{name}", annotator.llm, texts)


def _steered_texts(study: Study, counts: Counts, annotator: str, some: int) -> Iterator[tuple[str, int, int]]:
    """What an annotator labels of steered text: all of the sweeps that are measured by it, some of another's."""
    for (name, target), rows in counts.steered.items():
        length = _sentences(study.sweeps[name].max_new_tokens)
        if labeller(study, name) == annotator:
            yield f"{name}/{target}", rows, length
        elif (name, target) == (study.labels.steered_sweep, "reasoning"):
            yield "steered rollouts", some, length


def _plan_llm(path: str, llm: Llm, texts: Sequence[tuple[str, int, int]]) -> Iterator[Item]:
    """Texts to label: their name, how many there are, sentences in each (an estimate)."""
    cuts = [(name, n, cut(length, llm.chunk_sentences, llm.overlap_sentences)) for name, n, length in texts]
    asked = sum(n * sum(map(len, chunks)) for _, n, chunks in cuts)
    requests = sum(n * len(chunks) for _, n, chunks in cuts)
    terms = " + ".join(f"{n} {name} x {len(chunks)}" for name, n, chunks in cuts)
    formula = f"{terms} chunks of at most {llm.chunk_sentences} sentences"
    yield Item(f"{path}: requests", f"about {requests:,}", formula)
    instructions = len(read_instructions(locate(llm.prompt))) // CHARACTERS_PER_TOKEN
    prompt = requests * instructions + asked * (TOKENS_PER_SENTENCE + ENTRY_TOKENS)
    formula = (
        f"requests x {instructions} of instructions + {asked} sentences x ({TOKENS_PER_SENTENCE} + {ENTRY_TOKENS})"
    )
    yield Item(f"{path}: prompt tokens", f"about {prompt:,}", formula)
    reply = asked * ENTRY_TOKENS
    yield Item(f"{path}: reply tokens", f"about {reply:,}", f"{asked} sentences x {ENTRY_TOKENS}")
    share, prices = llm.batch_price if llm.batch else 1.0, llm.endpoint
    cost = (prompt * prices.input_price + reply * prices.output_price) / 1e6 * share
    formula = f"prompt x {prices.input_price:g} + reply x {prices.output_price:g} per million"
    formula += f", x {share:g} in a batch" if llm.batch else ""
    formula += "" if llm.max_cost is None else f"; max_cost {llm.max_cost:g}"
    yield Item(f"{path}: cost", f"about {cost:,.2f}", formula)


def plan_disk(study: Study, shape: Shape, counts: Counts) -> Item:
    """Bytes of the large tables, at most; journals of running steps come on top and go with them."""
    layers = len(asked_of(study.activations.layers, range(shape.layers)))
    width = 4 if study.activations.dtype == "float32" else 2
    starts = len(study.activations.window_starts)
    activations = READERS * counts.sentences * starts * layers * shape.hidden * width
    generated = counts.rollouts * study.rollouts.max_new_tokens + counts.steered_tokens
    rows = counts.rollouts + counts.sentences + sum(counts.steered.values())
    directions = len(BEHAVIOURS) + 2 + study.vectors.random_directions + study.vectors.shuffles
    traced = READERS * min(counts.rollouts, study.explorer.rollouts) * study.rollouts.max_new_tokens * directions
    total = activations + generated * 2 * CHARACTERS_PER_TOKEN + rows * ROW_BYTES + traced * FLOAT_BYTES
    formula = (
        f"{READERS} readers x {counts.sentences} sentences x {starts} windows x {layers} layers x {shape.hidden} x "
        f"{width} bytes + {generated} tokens x {2 * CHARACTERS_PER_TOKEN} + {rows} rows x {ROW_BYTES} + "
        f"{traced} projections x {FLOAT_BYTES}"
    )
    return Item("disk, at most", f"{total / 1e6:,.0f} MB", formula)


def read_shape(study: Study) -> Shape:
    """Layers and width of the reasoning model, from its directory or the hub; raises SettingsError without either."""
    if local := read_configs(study).get("reasoning"):
        return Shape(local["num_hidden_layers"], int(local["hidden_size"]))
    from transformers import AutoConfig

    name = study.pair.reasoning
    try:
        config = AutoConfig.from_pretrained(name, revision=study.pair.reasoning_revision, trust_remote_code=False)
        text = config.get_text_config()
        return Shape(int(text.num_hidden_layers), int(text.hidden_size))
    except Exception as problem:  # the library takes much in a file for granted
        said = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        raise SettingsError(f"pair.reasoning: the configuration of {name} cannot be read: {said}") from None


def format_plan(items: list[Item]) -> str:
    """A line for each item."""
    names, values = (max(len(item[column]) for item in items) for column in (0, 1))
    return "\n".join(f"{item.name:<{names}}  {item.value:>{values}}  = {item.formula}" for item in items)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("study", nargs="?", default="config.yaml", help="a study file")
    parser.add_argument("--profile", action="store_true", help="also what it asks of a cluster")
    parser.add_argument("--check", action="store_true", help="only say what is wrong with it, if anything is")
    arguments = parser.parse_args()
    # as the workflow does: a study's relative paths count from the repository, wherever the command is given
    os.environ.setdefault("REPURPOSE_ROOT", os.path.relpath(REPOSITORY))
    with one_line_errors("plan"), naming(arguments.study):
        study = load_study(arguments.study)
        check_models(study)
        if arguments.check:
            return
        items = plan_study(study, read_shape(study))
        items += [Item(*line) for line in cluster_lines(study)] if arguments.profile else []
        sys.stdout.write(format_plan(items) + "\n")


if __name__ == "__main__":
    main()
