# What the rules of all rooms share.
#
# Needs: the configuration, src/repurpose/study (standard library, pydantic and yaml only), local model directories.
# Gives: STUDY, and of it FILES (paths), PYTHON (interpreters), JOBS (memory, time, GPUs), CHECKS; how a job's command
# begins and ends. What is logic is Python in src/repurpose/study, with tests. Paths are relative to the working
# directory, names in a study to this repository.
#
# Of Snakemake only what its manual names is used, but for three attributes of `workflow` that have no public
# counterpart: `overwrite_configfiles` (is there a --configfile?), `configfiles` (its path)
# and `deployment_settings` (is there an --sdm conda?).

import atexit
import os
import shlex
import sys
from contextlib import contextmanager
from pathlib import Path

from snakemake.settings.types import DeploymentMethod

ROOT = Path(os.path.relpath(workflow.basedir))
SOURCE = Path(workflow.basedir, "src")
sys.path.insert(0, str(SOURCE))

from repurpose.study.catalogue import AGREEMENT_TABLES
from repurpose.study.jobs.environments import Environments
from repurpose.study.jobs.failures import explain_failures
from repurpose.study.jobs.layout import Layout, of_both, one_of
from repurpose.study.jobs.locks import enter_directory
from repurpose.study.jobs.parameters import Checks, step_parameter, step_variables, study_variable
from repurpose.study.pair_files import ADAPTER_FILES, MADE_FILES, VARIANTS, check_models
from repurpose.study.resources import cpu_threads, study_demands
from repurpose.study.settings import SettingsError, read_study
from repurpose.study.study_file import load_values, naming, resolve_extends

# Steps look up the study's relative paths in the repository.
os.environ.update(REPURPOSE_ROOT=str(ROOT))


@contextmanager
def one_line():
    """End with one line, before any job, for whatever is wrong with the study."""
    try:
        yield
    except SettingsError as problem:
        sys.exit(str(problem))


# A study file stands alone: it is never merged into the default one.
if not workflow.overwrite_configfiles:
    with one_line(), naming(ROOT / "config.yaml"):
        load_values(ROOT / "config.yaml")  # what is wrong with it is told in our words, before Snakemake's

    configfile: f"{workflow.basedir}/config.yaml"


STUDY_FILES = [os.path.relpath(file) for file in workflow.configfiles]

with one_line(), naming(" ".join(STUDY_FILES) or "study"):
    STUDY = read_study(resolve_extends(config, STUDY_FILES))
    check_models(STUDY)

# ... and hold what they read against the study as it is now.
os.environ.update(study_variable(STUDY))

enter_directory()

FILES = Layout(STUDY)
PYTHON = Environments(STUDY, ROOT, conda=DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method)
JOBS = study_demands(STUDY)
CHECKS = Checks(STUDY, PYTHON)


wildcard_constraints:
    **FILES.constraints,


# Each command of a rule begins with this prefix, and ends in `| log_to {log}`, which keeps all that it says in its log
# and shows the lines that are worth it, each with the job's name.
def command_prefix():
    variables = " ".join(
        f"{name}={shlex.quote(value)}" for name, value in step_variables(SOURCE, STUDY.pair.gpus).items()
    )
    log_to = f'log_to() {{ {shlex.quote(sys.executable)} -m repurpose.study.jobs.job_log "$1"; }}'
    return f"set -euo pipefail; export {variables}; {log_to}; "


shell.executable("bash")
with one_line():
    shell.prefix(command_prefix().replace("{", "{{").replace("}", "}}"))


def settings_of(step, *names):
    """A parameter of the wildcards only: the step's settings, the named wildcards and its code's digest."""
    return lambda wildcards: step_parameter(STUDY, step, {name: wildcards[name] for name in names})


def settings_by_labeller(step):
    """The same of a step that measures a sweep, with the annotator that labels its text."""
    return lambda wildcards: step_parameter(STUDY, step, {"annotator": FILES.labeller(wildcards)})


def model_files(role):
    """One of the pair's files; their times decide nothing, but where a rule makes them anew."""
    files = FILES.model(role)
    return files if FILES.is_made(role) else [ancient(file) for file in files]


def digests_of(*roles, words=()):
    """A parameter: digests of models, by their roles or the wildcard that says one; `words`: beyond their numbers."""

    def digests(wildcards):
        numbers, texts = ([getattr(wildcards, role, role) for role in named] for named in (roles, words))
        return FILES.digests(sorted(set(numbers)), sorted(set(texts)))

    return digests


def growing(amount):
    """A resource: the amount, and once more as much at each further attempt."""
    return lambda wildcards, attempt: attempt * amount


def derived(value):
    """A parameter that Snakemake does not record, because its function takes `output`: another value replans nothing."""
    return lambda wildcards, output: value


def needed_behaviour(wildcards, output):
    """What the labels that vectors are made from must have some of. Not recorded: it decides no label."""
    needed = wildcards.annotator == STUDY.labels.annotator
    return f"--behaviour {STUDY.vectors.behaviour}" if needed else ""


def some_rollouts(wildcards):
    """An option: only some rollouts are labelled by an annotator whose labels the sweep is not measured by."""
    return "" if wildcards.annotator == FILES.labeller(wildcards) else "--some"


def tell_failures(run_logs):
    """Say why jobs failed, once all else is said."""
    atexit.register(lambda: sys.stderr.write(explain_failures(run_logs)))
