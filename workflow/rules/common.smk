# What the rules share: the checked study, the paths of a step's files, its settings, its interpreter.
#
# Needs: the configuration, src/repurpose (standard library parts only), local model directories.
# Gives: STUDY and the helpers below. Paths are relative to the working directory, names in a study to this repository.

import os
import sys
from pathlib import Path

from snakemake.settings.types import DeploymentMethod
from snakemake.shell import shell

ROOT = Path(os.path.relpath(workflow.basedir))
SOURCE = Path(workflow.basedir, "src")
sys.path.insert(0, str(SOURCE))

from repurpose.catalogue import FIGURES, TABLES
from repurpose.digest import code_digest
from repurpose.locks import clear_stale_locks, hold_run_lock
from repurpose.pair_files import check_models
from repurpose.settings import SettingsError, canonical_json, locate, read_study, step_settings

# Steps look up the study's relative paths in the repository.
os.environ.update(REPURPOSE_ROOT=str(ROOT))

# One line, before any job, for whatever is wrong with a study.
try:
    STUDY = read_study(config)
    check_models(STUDY)
except SettingsError as problem:
    sys.exit(f"{os.path.relpath((workflow.configfiles or ['study'])[0])}: {problem}")

clear_stale_locks()

READERS = ("base", "reasoning")
SHARDS = range(STUDY.rollouts.shards)
GENERATOR = STUDY.rollouts.generator
ANNOTATOR = STUDY.labels.annotator
SWEPT = [(name, target) for name, sweep in STUDY.sweeps.items() for target in sweep.targets]


# The one place for what every step's process needs. Snakemake itself sets OMP_NUM_THREADS and its kin to {threads}.
def step_environment():
    variables = {
        "PYTHONPATH": f"{SOURCE}",  # the package runs from the source tree, installed nowhere
        "PYTHONHASHSEED": "0",  # the order of sets is the same on every run
        "OMP_WAIT_POLICY": "PASSIVE",  # a waiting thread leaves its core to the job beside it
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_MININTERVAL": "2",  # a bar moves every two seconds, so that logs stay short
        "TQDM_NCOLS": "90",
    }
    return " ".join(f"{name}={quoted(value)}" for name, value in variables.items())


def quoted(text):
    return "'" + text.replace("'", "'\\''").replace("{", "{{").replace("}", "}}") + "'"


shell.executable("bash")
shell.prefix(f"set -euo pipefail; export {step_environment()}; ")


wildcard_constraints:
    study=STUDY.study,
    shard=r"\d+",
    reader="base|reasoning",
    target="base|reasoning",
    sweep="|".join(STUDY.sweeps),
    figure="|".join(FIGURES),
    annotator=ANNOTATOR,


def settings_of(step, *names, module=None):
    """A params function of wildcards only: the step's settings, the named wildcards and its code's digest, as JSON.

    One string, because Snakemake compares params as a set of values without their names. `module` is the step's
    module where it is not named as the step.
    """

    def settings(wildcards):
        extra = {name: wildcard_value(name, wildcards[name]) for name in names}
        return canonical_json({**step_settings(STUDY, step, **extra), "code": code_digest(module or step)})

    return settings


def wildcard_value(name, text):
    return int(text) if name == "shard" else text


def main_python(wildcards, output):
    """The interpreter of envs/main. It takes `output`, so Snakemake holds it for derived and does not record it."""
    return MAIN_PYTHON


def find_python(environment):
    if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method:
        return "python"
    built = ROOT / "envs" / ".venvs" / environment / "bin" / "python"
    named = os.environ.get(f"REPURPOSE_PYTHON_{environment.upper()}")
    return named or (str(built) if built.exists() else sys.executable)


MAIN_PYTHON = find_python("main")


def model_files(role):
    """The files of a local model, so that other weights replan what was made with these; none for a hub name."""
    folder = Path(locate(getattr(STUDY.pair, role)))
    names = ("config.json", "tokenizer.json", "*.safetensors")
    return [file.as_posix() for name in names for file in sorted(folder.glob(name))]


def tokenizer_files(role):
    return [file for file in model_files(role) if file.endswith("tokenizer.json")]


def reader_model(wildcards):
    return model_files(wildcards.reader)


def target_model(wildcards):
    return model_files(wildcards.target)


# What a job that loads a model asks of a cluster: room for the weights and as much again to work in, and a card for
# large ones.
SMALL = 1 << 30


def model_bytes():
    """The size of the larger local model; a hub name counts as large."""
    folders = [Path(locate(name)) for name in (STUDY.pair.base, STUDY.pair.reasoning)]
    sizes = [sum(file.stat().st_size for file in folder.glob("*.safetensors")) for folder in folders]
    return max(sizes) if all(folder.is_dir() for folder in folders) else 16 * SMALL


MODEL_GPUS = 1 if model_bytes() > SMALL else 0
MODEL_MEMORY = 4000 + 3 * model_bytes() // 2**20
MODEL_RUNTIME = 60 if model_bytes() < SMALL else 720


def organism_folder(wildcards, output):
    """Where the embedded pair lies, wherever the run is; takes `output` to be derived."""
    return (ROOT / "resources" / "organism").as_posix()


def prompt_source():
    return [] if STUDY.prompts.source == "organism" else [locate(STUDY.prompts.source)]


def all_rollouts():
    return expand("results/{study}/rollouts/{shard}.parquet", study=STUDY.study, shard=SHARDS)


def all_sentences():
    return expand(
        "results/{study}/sentences/{annotator}/{shard}.parquet",
        study=STUDY.study,
        annotator=ANNOTATOR,
        shard=SHARDS,
    )


def reader_activations(wildcards):
    return expand("results/{study}/activations/{reader}/{shard}.parquet", shard=SHARDS, **wildcards)


def activations_of(reader):
    pattern = "results/{study}/activations/{reader}/{shard}.parquet"
    return expand(pattern, study=STUDY.study, reader=reader, shard=SHARDS)


def of_both(pattern):
    """The base model's and the reasoning model's file."""
    return expand(pattern, study=STUDY.study, reader=READERS)


def all_measurements():
    return [f"results/{STUDY.study}/measurements/{sweep}/{target}.parquet" for sweep, target in SWEPT]


def all_tables():
    return expand("results/{study}/tables/{table}.csv", study=STUDY.study, table=TABLES)


def all_figures(*formats):
    return expand("results/{study}/figures/{figure}.{format}", study=STUDY.study, figure=FIGURES, format=formats)


def final_files():
    named = expand("results/{study}/{file}", study=STUDY.study, file=("report.html", "claims.csv", "claims.md"))
    return [*named, *all_figures("svg", "png"), *all_tables()]


def folder_of_output(wildcards, output):
    """The folder of the outputs; derived from `output`, so not recorded."""
    return str(Path(output[0]).parent)
