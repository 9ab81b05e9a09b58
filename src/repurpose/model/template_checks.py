"""Chat templates are programs that come with a model: whether one can be used is tried in a process of its own.

A template may fail in any way, or never end, and neither is worth a study: the process has a limit of its own.
"""

import json
import os
import resource
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from repurpose.model.loading import ModelError
from repurpose.study.messages import as_line

SECONDS = 10
"""Of a processor, beside those for the number of prompts; a good template takes a few milliseconds."""
PROMPTS_A_SECOND = 100


def check_rendering(tokenizer: PreTrainedTokenizerBase, messages: Sequence[str]) -> None:
    """Refuse a chat template that fails on one of some prompts' messages (JSON), or does not end (ModelError)."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # or the library warns of the fork; no text is cut there
    context, seconds = get_context("fork"), SECONDS + len(messages) // PROMPTS_A_SECOND
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_render, args=(tokenizer, messages, theirs, seconds))
    child.start()
    theirs.close()
    try:
        said = ours.recv()
    except EOFError:
        said = f"it did not end within {seconds} seconds, or took too much memory"
    child.join()
    ours.close()
    if said:
        raise ModelError(f"the chat template of {tokenizer.name_or_path} has no use for a prompt: {said}")


def _render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[str], said: Connection, seconds: int) -> None:
    """Say what is wrong, or an empty text."""
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    limit = seconds if most == resource.RLIM_INFINITY else min(seconds, most)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    try:
        for one in messages:
            tokenizer.apply_chat_template(json.loads(one), add_generation_prompt=True, tokenize=False)
    except Exception as problem:  # whatever a template does
        kind = "" if isinstance(problem, TemplateError) else f"{type(problem).__name__}: "
        said.send(as_line(kind + str(problem).strip().partition("\n")[0]))
    else:
        said.send("")
