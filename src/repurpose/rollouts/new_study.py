"""Write a study file for two models and a file of prompts that fits them and passes every check: `repurpose new-study`.

    repurpose new-study BASE REASONING PROMPTS

BASE and REASONING are model directories or hub names, PROMPTS is a JSON-lines file with category, prompt and, where
known, answer. The small files of both models are read, no weights.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from repurpose.data.files import write_text
from repurpose.model.loading import load_config, load_shape, load_text_config, loaded_file, model_parameters
from repurpose.model.pair_checks import check_pair
from repurpose.model.template_checks import check_rendering
from repurpose.model.tokens import decode, keyword_ids, load_tokenizer, prompt_token_ids
from repurpose.rollouts.check_models import check_models
from repurpose.rollouts.prompts import make_prompts
from repurpose.study.draft import Choices, Facts, draft, slug, split_prompts
from repurpose.study.errors import one_line_errors
from repurpose.study.pair_files import ROLES
from repurpose.study.pair_files import check_models as check_files
from repurpose.study.prompt_counts import count_prompts
from repurpose.study.resources import BYTES
from repurpose.study.settings import (
    Pair,
    Role,
    SettingsError,
    StepSettings,
    Study,
    canonical_json,
    locate,
    read_study,
    step_settings,
)

REPOSITORY = Path(__file__).parents[3]
SCHEMA = REPOSITORY / "workflow" / "schemas" / "study.schema.json"
EVERYWHERE = {"layers": "all", "window_starts": "all"}
ANY_SWEEP = {"split": "train", "prompts": 1, "magnitudes": {"unit": "dose", "values": [1.0]}, **EVERYWHERE}
"""What makes a study of a pair and prompts, so that their files can be checked."""


def new_study(given: argparse.Namespace) -> Path:
    """Write the study that the command line asks for; return where.

    Raises:
        SettingsError, ModelError: in one line, what is wrong with models, prompts or names.
    """
    name = given.name or slug(Path(given.reasoning).name)
    output = Path(given.output) if given.output else REPOSITORY / "studies" / f"{name}.yaml"
    if output.exists():
        raise SettingsError(f"--output: {output} is there already; give another --output or --name, or remove it")
    if not output.parent.is_dir():
        raise SettingsError(f"--output: there is no folder {output.parent}")
    named, source = Pair(study_path(given.base), study_path(given.reasoning)), study_path(given.prompts)
    messages = read_messages(name, named, source)
    pair = Pair(locate(named.base), locate(named.reasoning))
    check_pair(pair)
    shown = os.path.relpath(output, REPOSITORY) if output.resolve().is_relative_to(REPOSITORY) else str(output)
    choices = Choices(
        name=name,
        file=shown,
        schema=os.path.relpath(SCHEMA, output.parent),
        source=source,
        keywords=known_keywords(pair, given.keywords),
        annotator=given.annotator,
        base_url=given.base_url,
    )
    text = draft(choices, replace(named, **read_pair(pair)), read_facts(pair, messages))
    check(read_study(yaml.safe_load(text)), messages)
    write_text(output, text)
    return output


def study_path(given: str) -> str:
    """A path as a study has it, counted from the repository; a name that is no path here stays as it is."""
    path = Path(given).expanduser()
    if not path.exists():
        return given
    whole = path.resolve()
    return whole.relative_to(REPOSITORY).as_posix() if whole.is_relative_to(REPOSITORY) else whole.as_posix()


def read_messages(name: str, pair: Pair, source: str) -> list[str]:
    """The messages of all prompts, once the files of models and prompts were found good."""
    total = count_prompts(source, locate(source))
    train, heldout = split_prompts(total)
    prompts = {"source": source, "train": train, "heldout": heldout}
    models = {"base": pair.base, "reasoning": pair.reasoning}
    study = read_study({"study": name, "pair": models, "prompts": prompts, "sweeps": {"selection": ANY_SWEEP}})
    check_files(study)
    return [row["messages"] for row in make_prompts(replace(study.prompts, source=locate(source)), study.seed)]


def read_pair(pair: Pair) -> dict[str, Any]:
    """What a study says of a pair beside its names: dtype, size and, for hub names, commits."""
    parameters = max(model_parameters(pair, role) for role in ROLES)
    commits = {f"{role}_revision": commit(pair, role) for role in ROLES}
    return {"dtype": stored_dtype(pair, parameters), "parameters": parameters, **commits}


def commit(pair: Pair, role: Role) -> str | None:
    """The commit of a hub model that was loaded; none of a directory."""
    name = getattr(pair, role)
    config = None if Path(name).is_dir() else loaded_file(pair, role, "config.json")
    return None if config is None else config.parent.name


def stored_dtype(pair: Pair, parameters: float) -> str:
    """The dtype that the reasoning model's configuration names, or else one that its size makes likely."""
    configs = load_text_config(pair, "reasoning"), load_config(pair, "reasoning")
    named = (str(getattr(config, "dtype", None)).removeprefix("torch.") for config in configs)
    return next((dtype for dtype in named if dtype in BYTES), "float32" if parameters < 0.1 else "bfloat16")


def read_facts(pair: Pair, messages: Sequence[str]) -> Facts:
    """What lengths, layers and batches must fit."""
    tokenizer, configs = load_tokenizer(pair, "reasoning"), [load_text_config(pair, role) for role in ROLES]
    check_rendering(tokenizer, messages)
    limits = [most for config in configs if (most := getattr(config, "max_position_embeddings", None)) is not None]
    return Facts(
        layers=load_shape(pair, "reasoning")["num_hidden_layers"],
        context=min(limits, default=None),
        prompt_tokens=max(len(prompt_token_ids(tokenizer, one)) for one in messages),
        prompts=len(messages),
        cache_bytes=max(map(cache_bytes, configs)),
    )


def cache_bytes(config: Any) -> int:
    """Bytes of keys and values of one token, in half precision."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(config.num_hidden_layers * 2 * heads * size * BYTES["bfloat16"])


def known_keywords(pair: Pair, keywords: Sequence[str]) -> list[str]:
    """The keywords that are single tokens of the pair; a SettingsError where none is."""
    tokenizer = load_tokenizer(pair, "reasoning")
    found = {decode(tokenizer, [i]).strip().lower() for i in keyword_ids(tokenizer, keywords)}
    return [keyword for keyword in keywords if keyword.lower() in found]


def check(study: Study, messages: Sequence[str]) -> None:
    """Everything that is checked before the first rollout, but for the machine and the environment of an engine."""
    check_files(study)
    settings = StepSettings("rollouts.check_models", canonical_json(step_settings(study, "rollouts.check_models")))
    check_models(settings, messages, engine=False, machine=False)


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="repurpose new-study", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("base", help="the base model: a directory or a hub name")
    parser.add_argument("reasoning", help="the model that was finetuned from it")
    parser.add_argument("prompts", help="a JSON-lines file with category, prompt and, where known, answer")
    parser.add_argument("--output", help="the study file; studies/NAME.yaml without it")
    parser.add_argument("--name", help="the study's name; without it that of the reasoning model")
    parser.add_argument(
        "--annotator", default="lexicon", help="who labels: `lexicon` (patterns), or a language model's name"
    )
    parser.add_argument(
        "--base-url", help="the language model's server, such as http://127.0.0.1:8000/v1; OpenAI's own"
    )
    parser.add_argument(
        "--keywords", nargs="+", default=["wait", "hmm"], metavar="WORD", help="words to count; wait and hmm"
    )
    return parser.parse_args()


def main() -> None:
    given = read_arguments()
    # as the workflow does: a study's relative paths count from the repository, wherever the command is given
    os.environ.setdefault("REPURPOSE_ROOT", os.path.relpath(REPOSITORY))
    logging.getLogger("huggingface_hub").setLevel(
        logging.ERROR
    )  # a hub that does not answer is one line, without each attempt's own
    with one_line_errors("new-study"):
        file = new_study(given)
        sys.stdout.write(f"{file}\nLook at the lines marked CHANGE, then: make plan CONFIG={file}\n")


if __name__ == "__main__":
    main()
