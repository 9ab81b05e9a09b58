"""Where a study's files lie, and which of them each rule takes; standard library only, the Snakefile imports it.

What stands on labels lies under a run: the study's own annotator in results/<study>/, any other that is asked for in
results/<study>/with/<annotator>/. Prompts, rollouts, sentences and activations are the same for all. Paths count from
the working directory and may hold Snakemake's wildcards in braces; names in a study count from the repository.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from repurpose.study.catalogue import AGREEMENT_FIGURES, AGREEMENT_TABLES, FIGURES, TABLES
from repurpose.study.jobs.model_digests import digest_numbers, digest_words
from repurpose.study.labellers import labeller, others
from repurpose.study.pair_files import MADE_FILES, MADE_MODELS, ROLES, made_folder
from repurpose.study.prompt_counts import OWN_PROMPTS
from repurpose.study.settings import Study, canonical_json, locate, variants

MODEL_FILES = ("config.json", "tokenizer.json", "*.safetensors")
RUN = "results/{run}"


class Wildcards(Protocol):
    """A job's wildcards, by name."""

    def __getattr__(self, name: str) -> str: ...


@dataclass(frozen=True)
class Layout:
    """The files of one study; a method with `wildcards` is an input function of rules."""

    study: Study

    @property
    def models_that_label(self) -> list[str]:
        """Names of annotators that are language models."""
        return [name for name, annotator in self.study.labels.annotators.items() if annotator.kind == "llm"]

    @property
    def rules_that_label(self) -> list[str]:
        """Names of the other annotators."""
        return [name for name in self.study.labels.annotators if name not in self.models_that_label]

    @property
    def constraints(self) -> dict[str, str]:
        """What each wildcard may be, as regular expressions."""
        return {
            "study": self.study.study,
            "run": f"{self.study.study}(/with/({one_of(self._others)}))?",
            "shard": r"\d+",
            "reader": one_of(ROLES),
            "target": one_of(ROLES),
            "sweep": one_of(self.study.sweeps),
            "part": r"(-\d+)?",
            "annotator": one_of(self.study.labels.annotators),
            "figure": one_of((*FIGURES, *AGREEMENT_FIGURES)),
        }

    @property
    def _others(self) -> list[str]:
        return [name for name in self.study.labels.annotators if name != self.study.labels.annotator]

    def shards(self, pattern: str) -> list[str]:
        """A file for each shard of the rollouts; `pattern` is a path with {shard}."""
        return [pattern.replace("{shard}", str(shard)) for shard in range(self.study.rollouts.shards)]

    def parts(self, table: str) -> list[str]:
        """The files of a table that all runs share: `rollouts`, `sentences`, `labels/lexicon`, `activations/base`."""
        return self.shards(f"results/{self.study.study}/{table}/{{shard}}.parquet")

    def model(self, role: str) -> list[str]:
        """The files of a local model, without which nothing can be made with it; none for a hub name.

        A model that a rule makes has its files before it is there.
        """
        name = getattr(self.study.pair, role)
        if name in MADE_MODELS:
            return [made_folder(name).joinpath(file).as_posix() for file in MADE_FILES]
        folder = Path(locate(name))
        return [file.as_posix() for name in MODEL_FILES for file in sorted(folder.glob(name))]

    def is_made(self, role: str) -> bool:
        """Whether a rule makes the model: where it does so anew, what follows is made anew in the same run."""
        return getattr(self.study.pair, role) in MADE_MODELS

    def digests(self, numbers: Iterable[str] = (), words: Iterable[str] = ()) -> str:
        """Digests of what local models compute (numbers) and of how they read and end a text (words), by role."""
        kinds = {"numbers": (digest_numbers, numbers), "words": (digest_words, words)}
        return canonical_json(
            {kind: {role: self._digest(role, digest) for role in roles} for kind, (digest, roles) in kinds.items()}
        )

    def _digest(self, role: str, digest: Callable[[Path], str]) -> str:
        """Of a model that a rule makes, where it comes from: the same before it is there."""
        name = getattr(self.study.pair, role)
        return name if name in MADE_MODELS else digest(Path(locate(name)))

    @property
    def generator(self) -> list[str]:
        """What rollouts are made by: the generator's files or, of published chains, theirs and the tokenizer's."""
        files, chains = self.model(self.study.rollouts.generator), self.study.rollouts.file
        if chains is None:
            return files
        return [*(file for file in files if not file.endswith(".safetensors")), locate(chains)]

    @property
    def prompt_source(self) -> list[str]:
        """The file that prompts are drawn from, where they are."""
        source = self.study.prompts.source
        return [] if source in OWN_PROMPTS else [locate(source)]

    @property
    def prompts(self) -> str:
        return f"results/{self.study.study}/prompts.parquet"

    @property
    def study_labels(self) -> list[str]:
        """The labels that the study stands on."""
        return self.parts(f"labels/{self.study.labels.annotator}")

    @property
    def all_labels(self) -> list[str]:
        return [path for name in self.study.labels.annotators for path in self.parts(f"labels/{name}")]

    def run_labels(self, wildcards: Wildcards) -> list[str]:
        """The labels that a run stands on."""
        _, _, other = wildcards.run.partition("/with/")
        return self.parts(f"labels/{other or self.study.labels.annotator}")

    def other_labels(self, wildcards: Wildcards) -> list[str]:
        """The labels of all annotators but the run's own."""
        return [path for path in self.all_labels if path not in self.run_labels(wildcards)]

    @property
    def span_file(self) -> list[str]:
        """The published annotations whose spans are the labelled units, where they are."""
        annotator = self.study.labels.annotators[self.study.labels.annotator]
        return [locate(annotator.file)] if self.units("span") and annotator.file else []

    def units(self, unit: str) -> list[str]:
        """The study's name where it labels such units, as the constraint of the rule that makes them; else none."""
        return [self.study.study] if self.study.labels.unit == unit else []

    def annotator_file(self, wildcards: Wildcards) -> list[str]:
        """A language model's instructions, or published annotations; none of the lexicon."""
        annotator = self.study.labels.annotators[wildcards.annotator]
        file = annotator.llm.prompt if annotator.llm else annotator.file
        return [locate(file)] if file else []

    @property
    def outside_vectors(self) -> list[str]:
        """The files of vectors from outside; another file replans what is made with it."""
        return list(dict.fromkeys(locate(vector.file) for vector in self.study.vectors.outside.values()))

    def extra_vectors(self, wildcards: Wildcards) -> list[str]:
        """What a sweep steers with beyond the readers' own vectors, where it names any: variants, rivals."""
        named = set(self.study.sweeps[wildcards.sweep].directions)
        asked = {"variants": named.intersection(variants(self.study.vectors.behaviour)), "rivals": named & {"rival"}}
        return [f"results/{wildcards.run}/vectors/{file}.parquet" for file, some in asked.items() if some]

    def labeller(self, wildcards: Wildcards) -> str:
        """Who labels the steered text of a run's sweep, if that annotator can."""
        _, _, other = wildcards.run.partition("/with/")
        return labeller(self.study, wildcards.sweep, other or None)

    def sweep_labels(self, wildcards: Wildcards) -> list[str]:
        """The labels of a sweep's text, where a language model gives them; the lexicon's are made with the metrics."""
        name = self.labeller(wildcards)
        return [_steered(wildcards.run, name, wildcards.sweep, "{target}")] if name in self.models_that_label else []

    def measured_labels(self, wildcards: Wildcards) -> list[str]:
        """The labels of all sweeps' texts where a language model gives those that they are measured by."""
        run = wildcards.run
        swept = [(name, target) for name, sweep in self.study.sweeps.items() for target in sweep.targets]
        asked = [(labeller(self.study, sweep), sweep, target) for sweep, target in swept]
        return [_steered(run, *one) for one in asked if one[0] in self.models_that_label]

    def steered_labels(self, wildcards: Wildcards) -> list[str]:
        """Labels of some steered text by all other annotators that can, where one is a language model."""
        _, _, other = wildcards.run.partition("/with/")
        sweep = self.study.labels.steered_sweep
        return [_steered(wildcards.run, name, sweep, "reasoning") for name in others(self.study, other or None)]

    def labels_first(self, wildcards: Wildcards) -> list[str]:
        """The usage of an annotator's labels of rollouts: the study stands on them, so `max_cost` is theirs first."""
        name = wildcards.annotator
        return [f"results/{self.study.study}/labels/{name}/usage.parquet"] if name in self.models_that_label else []

    @property
    def parity(self) -> list[str]:
        """Proof that vLLM steers a target as transformers does, wanted before it is steered there."""
        return [f"{RUN}/parity/{{target}}.json"] if self.study.engine == "vllm" else []

    @property
    def measurements(self) -> list[str]:
        return self._swept("measurements")

    @property
    def sweeps(self) -> list[str]:
        return self._swept("sweeps")

    def _swept(self, table: str) -> list[str]:
        swept = [(name, target) for name, sweep in self.study.sweeps.items() for target in sweep.targets]
        return [f"{RUN}/{table}/{sweep}/{target}.parquet" for sweep, target in swept]

    @property
    def sharded_sweeps(self) -> list[str]:
        """Names of the sweeps that several jobs of one target make."""
        return [name for name, sweep in self.study.sweeps.items() if sweep.shards > 1]

    def sweep_parts(self, wildcards: Wildcards) -> list[str]:
        """The parts of a sweep on one target."""
        parts = range(self.study.sweeps[wildcards.sweep].shards)
        return [f"{RUN}/sweeps/{{sweep}}/{{target}}-{part}.parquet" for part in parts]

    def sweep_part(self, wildcards: Wildcards) -> str:
        """The option that tells a job which part of a sweep it makes; empty where it makes the whole."""
        part, parts = wildcards.part.removeprefix("-"), self.study.sweeps[wildcards.sweep].shards
        return f"--part {part}/{parts}" if part else ""

    @property
    def tables(self) -> list[str]:
        return [f"{RUN}/tables/{table}.csv" for table in TABLES]

    @property
    def agreement_tables(self) -> list[str]:
        """How far the annotators agree; none where there is one."""
        return [f"{RUN}/tables/{table}.csv" for table in AGREEMENT_TABLES if self._others]

    def figures(self, *formats: str) -> list[str]:
        """All figures in the formats (`svg`, `png`)."""
        names = (*FIGURES, *(AGREEMENT_FIGURES if self._others else ()))
        return [f"{RUN}/figures/{name}.{format_}" for name in names for format_ in formats]

    @property
    def final(self) -> list[str]:
        """All that a study shows, on its own annotator's labels."""
        said = [f"{RUN}/{name}" for name in ("report.html", "explorer.html", "claims.csv", "claims.md")]
        patterns = [*said, *self.figures("svg", "png"), *self.tables, *self.agreement_tables]
        return [pattern.replace("{run}", self.study.study) for pattern in patterns]


def _steered(run: str, annotator: str, sweep: str, target: str) -> str:
    return f"results/{run}/steered_labels/{annotator}/{sweep}/{target}.parquet"


def of_both(pattern: str) -> list[str]:
    """The base model's and the reasoning model's file; `pattern` is a path with {reader}."""
    return [pattern.replace("{reader}", reader) for reader in ROLES]


def one_of(names: Iterable[str]) -> str:
    """A wildcard's constraint; of no names one that nothing meets."""
    return "|".join(names) or "(?!)"
