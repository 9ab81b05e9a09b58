"""What a study asks of a cluster: jobs with a model and without, GPU hours, memory and time of the largest; at most.

Hours are those that jobs ask for, of which a scheduler reckons; what they take is less (docs/scale.md). Rules that run
where Snakemake runs are not jobs of a cluster.
"""

from collections.abc import Iterator
from typing import NamedTuple

from repurpose.study.labellers import list_steered_labels
from repurpose.study.pair_files import ROLES, models_to_make
from repurpose.study.resources import Demands, study_demands
from repurpose.study.settings import Study, names_variants

SMALL_MEMORY, SMALL_MINUTES = 4000, 60
"""The most that a job without a model asks for, but for one that waits for a labelling model."""
LABELLING_MINUTES = 1440
TRAINING_MINUTES = 300
READERS = len(ROLES)


class Jobs(NamedTuple):
    """Jobs that ask for the same."""

    name: str
    number: int
    gpus: int
    memory: int
    """Megabytes of each."""
    minutes: int
    """Of each."""


def model_jobs(study: Study, demands: Demands) -> Iterator[Jobs]:
    """Yield the jobs that run a model."""
    shards, reads = study.rollouts.shards, (demands.gpus, demands.memory, demands.minutes)
    yield Jobs("rollouts", shards, demands.sampling_gpus, demands.sampling_memory, demands.sampling_minutes)
    yield Jobs("activations", READERS * shards, *reads)
    if study.engine == "vllm":
        targets = len({target for sweep in study.sweeps.values() for target in sweep.targets})
        yield Jobs("checks of parity", targets, demands.engine_gpus, 2 * demands.memory, demands.minutes)
    for name, sweep in study.sweeps.items():
        asked = demands.engine_gpus, demands.sweep_memory[name], demands.sweep_minutes[name]
        yield Jobs(f"sweep {name}", sweep.shards * len(sweep.targets), *asked)
    yield Jobs("likelihoods", sum(len(sweep.targets) for sweep in study.sweeps.values()), *reads)
    yield Jobs("log-odds, projections, traces, lens, permutations", 3 * READERS + 2, *reads)


def other_jobs(study: Study) -> Iterator[Jobs]:
    """Yield the jobs that run none of the pair."""
    annotators = study.labels.annotators.values()
    asking = sum(annotator.llm is not None for annotator in annotators)
    made = models_to_make(study)
    if made.trained:
        yield Jobs("adapters to train", made.trained, 0, 2 * SMALL_MEMORY, TRAINING_MINUTES)
    if asking:
        steered = len(list(list_steered_labels(study)))
        yield Jobs("labels by models, and of steered text", asking + steered, 0, 2000, LABELLING_MINUTES)
    rules = len(annotators) - asking + (len(annotators) > 1) + (study.labels.unit == "span")
    measured = sum(len(sweep.targets) for sweep in study.sweeps.values())
    number = rules + READERS + names_variants(study) + measured + 3  # vectors, measurements, cosines, tables, explorer
    yield Jobs(
        "labels by rules, vectors, tables and the like",
        number + made.merged,
        0,
        SMALL_MEMORY,
        SMALL_MINUTES,
    )


def cluster_lines(study: Study) -> list[tuple[str, str, str]]:
    """Name, value and formula of each line of the plan."""
    groups = [*model_jobs(study, study_demands(study)), *other_jobs(study)]
    hours = sum(group.number * group.gpus * group.minutes for group in groups) / 60
    terms = (f"{g.number} {g.name} x {g.gpus} x {g.minutes} min" for g in groups if g.gpus)
    largest, longest = max(groups, key=lambda group: group.memory), max(groups, key=lambda group: group.minutes)
    at_once = max((group.gpus for group in groups), default=0)
    return [
        (
            "cluster: jobs",
            f"{sum(group.number for group in groups):,}",
            " + ".join(f"{group.number} {group.name}" for group in groups),
        ),
        ("cluster: GPU hours, at most", f"{hours:,.1f}", " + ".join(terms) or "no model here asks for a GPU"),
        ("cluster: GPUs of one job", f"{at_once}", "vllm.tensor_parallel or pair.gpus, where the pair is over 1 GiB"),
        ("cluster: memory of one job", f"{largest.memory:,} MB", f"{largest.name}; twice as much at a second attempt"),
        ("cluster: time of one job", f"{longest.minutes:,} min", f"{longest.name}; twice as much at a second attempt"),
    ]
