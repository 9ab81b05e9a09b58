# What the rules share: the checked study, the paths of a step's files, its settings, its interpreter.
#
# Needs: the configuration, src/repurpose (study/ alone: standard library, pydantic, yaml), local model directories.
# Gives: STUDY and the helpers below. Paths are relative to the working directory, names in a study to this repository.

import os
import shlex
import sys
from pathlib import Path

from snakemake.settings.types import DeploymentMethod
from snakemake.shell import shell

ROOT = Path(os.path.relpath(workflow.basedir))
SOURCE = Path(workflow.basedir, "src")
sys.path.insert(0, str(SOURCE))

from repurpose.study.catalogue import AGREEMENT_FIGURES, AGREEMENT_TABLES, FIGURES, TABLES
from repurpose.study.resources import (
    HUB_LAYERS,
    HUB_PARAMETERS,
    cards,
    host_megabytes,
    minutes,
    rollout_tokens,
    sweep_tokens,
)
from repurpose.study.resources import BYTES as NUMBER_BYTES
from repurpose.study.code_digest import code_digest
from repurpose.study.locks import clear_stale_locks, hold_run_lock
from repurpose.study.pair_files import check_models, local_folders, read_config
from repurpose.study.settings import SettingsError, canonical_json, locate, read_study, step_settings
from repurpose.study.study_file import resolve_extends

# Steps look up the study's relative paths in the repository.
os.environ.update(REPURPOSE_ROOT=str(ROOT))

# One line, before any job, for whatever is wrong with a study.
try:
    STUDY = read_study(resolve_extends(config, workflow.configfiles))
    check_models(STUDY)
except SettingsError as problem:
    sys.exit(f"{os.path.relpath((workflow.configfiles or ['study'])[0])}: {problem}")

clear_stale_locks()

READERS = ("base", "reasoning")
SHARDS = range(STUDY.rollouts.shards)
GENERATOR = STUDY.rollouts.generator
ANNOTATORS = STUDY.labels.annotators
OTHERS = [name for name in ANNOTATORS if name != STUDY.labels.annotator]
MODELS_THAT_LABEL = [name for name, annotator in ANNOTATORS.items() if annotator.kind == "llm"]
RULES_THAT_LABEL = [name for name in ANNOTATORS if name not in MODELS_THAT_LABEL]
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


# What stands on labels lies under a run: the study's own annotator in results/<study>/, any other that is asked for in
# results/<study>/with/<annotator>/. Prompts, rollouts, sentences and activations are the same for all.
wildcard_constraints:
    study=STUDY.study,
    run=f"{STUDY.study}(/with/({'|'.join(OTHERS)}))?" if OTHERS else STUDY.study,
    shard=r"\d+",
    reader="base|reasoning",
    target="base|reasoning",
    sweep="|".join(STUDY.sweeps),
    figure="|".join((*FIGURES, *AGREEMENT_FIGURES)),
    annotator="|".join(ANNOTATORS),


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


# What generates text: the study's engine, for rollouts an endpoint where the study names one.
STEERS_IN_VLLM = STUDY.engine == "vllm"
SAMPLES_IN_VLLM = STEERS_IN_VLLM and STUDY.rollouts.engine is None
ENGINE_CONDA = "../../envs/vllm.yaml" if STEERS_IN_VLLM else "../../envs/main.yaml"
ROLLOUTS_CONDA = "../../envs/vllm.yaml" if SAMPLES_IN_VLLM else "../../envs/main.yaml"
SAMPLES_HERE = STUDY.rollouts.engine is None


def find_vllm_python():
    """The interpreter of vLLM's environment: named, or built by envs/create.sh for cards, or for a CPU."""
    if DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method:
        return "python"
    built = [ROOT / "envs" / ".venvs" / name / "bin" / "python" for name in ("vllm", "vllm-cpu")]
    found = os.environ.get("REPURPOSE_PYTHON_VLLM") or next((str(path) for path in built if path.exists()), "")
    return found if found and Path(found).exists() else ""


VLLM_PYTHON = find_vllm_python() if STEERS_IN_VLLM else ""


def check_environment():
    """One line where jobs would need an environment that is not there; a plan (-n) needs none."""
    named = os.environ.get("REPURPOSE_PYTHON_VLLM")
    if STEERS_IN_VLLM and not VLLM_PYTHON and named:
        sys.exit(f"engine: REPURPOSE_PYTHON_VLLM names {named}, which is not there; give vLLM's interpreter")
    if STEERS_IN_VLLM and not VLLM_PYTHON:
        sys.exit(
            "engine: vllm needs its own environment, which is not there; build it with `envs/create.sh vllm` (NVIDIA "
            "cards) or `envs/create.sh vllm-cpu`, or name an interpreter in REPURPOSE_PYTHON_VLLM"
        )


def vllm_python(wildcards, output):
    return VLLM_PYTHON


def engine_python(wildcards, output):
    return VLLM_PYTHON if STEERS_IN_VLLM else MAIN_PYTHON


def rollouts_python(wildcards, output):
    return VLLM_PYTHON if SAMPLES_IN_VLLM else MAIN_PYTHON


def checked_parity():
    """Proof that vLLM steers the target as transformers does; wanted before it is steered."""
    return "results/{run}/parity/{target}.json" if STEERS_IN_VLLM else []


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


# What a job that loads a model asks of a cluster, by the formula of repurpose/study/resources.py.
def count_parameters():
    """Billions of parameters of the larger model: as the study says, or from the local files' sizes."""
    folders = local_folders(STUDY)
    if STUDY.pair.parameters is not None or len(folders) < len(READERS):
        return STUDY.pair.parameters or HUB_PARAMETERS
    sizes = [sum(file.stat().st_size for file in folder.glob("*.safetensors")) for folder in folders.values()]
    return max(sizes) / NUMBER_BYTES[STUDY.pair.dtype] / 1e9


def count_layers():
    folder = local_folders(STUDY).get("reasoning")
    return read_config("reasoning", folder)["num_hidden_layers"] if folder else HUB_LAYERS


PARAMETERS = count_parameters()
WEIGHTS = PARAMETERS * 1e9 * NUMBER_BYTES[STUDY.pair.dtype]
MODEL_MEMORY = host_megabytes(WEIGHTS)
MODEL_GPUS = cards(WEIGHTS)
ENGINE_GPUS = cards(WEIGHTS, STUDY.vllm.tensor_parallel if STEERS_IN_VLLM else 1)
MODEL_RUNTIME = minutes(WEIGHTS, PARAMETERS, rollout_tokens(STUDY))


def sweep_runtime(wildcards):
    return minutes(WEIGHTS, PARAMETERS, sweep_tokens(STUDY, STUDY.sweeps[wildcards.sweep], count_layers()))


def organism_folder(wildcards, output):
    """Where the embedded pair lies, wherever the run is; takes `output` to be derived."""
    return (ROOT / "resources" / "organism").as_posix()


def prompt_source():
    return [] if STUDY.prompts.source == "organism" else [locate(STUDY.prompts.source)]


def all_rollouts():
    return expand("results/{study}/rollouts/{shard}.parquet", study=STUDY.study, shard=SHARDS)


def all_sentences():
    return expand("results/{study}/sentences/{shard}.parquet", study=STUDY.study, shard=SHARDS)


def one_of(names):
    """A wildcard's constraint; a rule for none of them matches nothing."""
    return "|".join(names) or "(?!)"


def published_file(wildcards):
    file = ANNOTATORS[wildcards.annotator].file
    return [locate(file)] if file else []


def instructions_file(wildcards):
    return locate(ANNOTATORS[wildcards.annotator].llm.prompt)


def check_of_annotators(wildcards, output):
    """A command to go before what is costly; empty where no annotator needs a server or a file.

    It takes `output`, so that it is not recorded: another annotator replans no rollout.
    """
    settings = canonical_json(step_settings(STUDY, "labels.check_annotators"))
    command = shlex.join([MAIN_PYTHON, "-m", "repurpose.labels.check_annotators", "--settings", settings])
    return f"{command} &&" if any(one.llm or one.file for one in ANNOTATORS.values()) else ""


def check_of_models(wildcards, input, output):
    """Commands to go before what is costly; empty where the plan has read the models' files and no engine is wanted.

    It takes `output`, so that it is not recorded: other settings of a sweep replan no rollout.
    """
    settings = canonical_json(step_settings(STUDY, "rollouts.check_models"))
    command = ["-m", "repurpose.rollouts.check_models", "--settings", settings, "--prompts", input.prompts]
    command += ["--machine"] if SAMPLES_HERE else []  # a cluster sends what asks a server to where no cards are
    reads = [MAIN_PYTHON, *command] if MODEL_GPUS or len(local_folders(STUDY)) < len(READERS) else []
    found = SAMPLES_IN_VLLM or VLLM_PYTHON != "python"  # conda shows a job its own environment only
    writes = [VLLM_PYTHON, *command, "--engine"] if STEERS_IN_VLLM and found else []
    return " ".join(f"{shlex.join(one)} &&" for one in (reads, writes) if one)


def steered_labels():
    return expand("results/{run}/steered_labels/{annotator}.parquet", annotator=MODELS_THAT_LABEL, allow_missing=True)


def other_labels(wildcards):
    """The labels of all annotators but the run's own."""
    own = run_labels(wildcards)
    return [path for name in ANNOTATORS for path in labels_by(name) if path not in own]


def labels_by(annotator):
    pattern = "results/{study}/labels/{annotator}/{shard}.parquet"
    return expand(pattern, study=STUDY.study, annotator=annotator, shard=SHARDS)


def run_labels(wildcards):
    """The labels that a run stands on."""
    _, _, other = wildcards.run.partition("/with/")
    return labels_by(other or STUDY.labels.annotator)


def reader_activations(wildcards):
    return activations_of(wildcards.reader)


def activations_of(reader):
    pattern = "results/{study}/activations/{reader}/{shard}.parquet"
    return expand(pattern, study=STUDY.study, reader=reader, shard=SHARDS)


def of_both(pattern):
    """The base model's and the reasoning model's file."""
    return expand(pattern, reader=READERS, allow_missing=True)


def all_measurements():
    return [f"results/{{run}}/measurements/{sweep}/{target}.parquet" for sweep, target in SWEPT]


def all_tables():
    return expand("results/{run}/tables/{table}.csv", table=TABLES, allow_missing=True)


def all_figures(*formats):
    figures = (*FIGURES, *(AGREEMENT_FIGURES if OTHERS else ()))
    return expand("results/{run}/figures/{figure}.{format}", figure=figures, format=formats, allow_missing=True)


def agreement_tables():
    return expand("results/{run}/tables/{table}.csv", table=AGREEMENT_TABLES if OTHERS else (), allow_missing=True)


def final_files():
    named = expand("results/{run}/{file}", file=("report.html", "claims.csv", "claims.md"), allow_missing=True)
    return expand([*named, *all_figures("svg", "png"), *all_tables(), *agreement_tables()], run=STUDY.study)


def folder_of_output(wildcards, output):
    """The folder of the outputs; derived from `output`, so not recorded."""
    return str(Path(output[0]).parent)
