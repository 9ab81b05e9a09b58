"""Text and token ids: tokenizers of the pair, held against their own files; prompts under the chat template."""

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any, cast

from jinja2 import TemplateError
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from repurpose.model.loading import ModelError, generation_stop_ids, load, load_text_config, loaded_file, naming_faults
from repurpose.study.settings import Pair, Role, SettingsError


def load_tokenizer(pair: Pair, role: Role) -> PreTrainedTokenizerBase:
    """Load the tokenizer of one of the pair, so that it gives the ids that its own file gives.

    Some models name a class that rebuilds parts of the file's tokenizer (R1-Distill-Llama names Llama 2's, which loses
    every space); transformers knows some of them by their hub names, but no copy of them elsewhere.
    """
    tokenizer: PreTrainedTokenizerBase = load(AutoTokenizer, pair, role)
    file = loaded_file(pair, role, "tokenizer.json")
    if file is not None:
        with naming_faults(pair, role):
            own = Tokenizer.from_file(str(file))
            ids = own.encode(PROBE, add_special_tokens=False).ids
            written = own.decode(ids, skip_special_tokens=False)
        if tokenizer.encode(PROBE, add_special_tokens=False) != ids or decode(tokenizer, ids) != written:
            tokenizer = load(PreTrainedTokenizerFast, pair, role)
    return tokenizer


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of token ids, special tokens included."""
    return cast(str, tokenizer.decode(list(ids)))


def token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """The id of one token, written as the vocabulary has it."""
    return cast(int, tokenizer.convert_tokens_to_ids(token))


def stop_token_ids(pair: Pair, *roles: Role) -> list[int]:
    """Ids that end a text of any of these models, from their generation settings and their tokenizers."""
    ends = {load_tokenizer(pair, role).eos_token_id for role in roles}
    return sorted({*(end for end in ends if end is not None), *chain(*(generation_stop_ids(pair, r) for r in roles))})


PROBE = "Wait, 12 + 7 is 19.\nHmm  no: \u201cna\u00efve\u201d [x] \t So\n\nbut <think> then"
"""Text in which tokenizers differ: spaces, line ends, digits, quotes, accents, a tag."""


def check_same_ids(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> None:
    """Assert that two tokenizers give text the same ids; a ModelError names the first difference.

    Ordinary tokens must agree. Special ones need not: those of a chat format, or what begins and ends a text.
    """
    ordinary = {token for each in (one, other) for token in each.get_vocab().keys() - each.get_added_vocab().keys()}
    ours, theirs = one.get_vocab(), other.get_vocab()
    for token in sorted(token for token in ordinary if ours.get(token) != theirs.get(token)):
        raise ModelError(
            f"the pair's tokenizers disagree: {token!r} is {ours.get(token)} in one, {theirs.get(token)} in the other"
        )
    plain = PROBE.replace("<think>", "think")  # a tag may be one token in one of them
    if one.encode(plain, add_special_tokens=False) != other.encode(plain, add_special_tokens=False):
        raise ModelError(f"the pair's tokenizers disagree: they give {plain!r} different ids")


def check_ids_fit(ids: list[int], pair: Pair, role: Role) -> None:
    """Hold token ids against a model's vocabulary before it is loaded; a ModelError names an id that is too large."""
    size: int = load_text_config(pair, role).vocab_size
    if ids and max(ids) >= size:
        raise ModelError(f"pair.{role}: token id {max(ids)} is outside the model's {size} tokens; wrong tokenizer?")


def prompt_token_ids(tokenizer: PreTrainedTokenizerBase, messages: str) -> list[int]:
    """Ids of a prompt's messages (JSON) under the chat template, up to where the answer begins.

    A template that refuses the messages, or gives the beginning-of-text token twice, is a ModelError.
    """
    chat = json.loads(messages)
    try:
        ids: Any = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=False)
    except TemplateError as problem:
        said = str(problem).partition("\n")[0]
        raise ModelError(f"the chat template of {tokenizer.name_or_path} has no use for a prompt: {said}") from None
    if ids[:2].count(tokenizer.bos_token_id) == 2:
        raise ModelError(f"the chat template of {tokenizer.name_or_path} begins a prompt with two BOS tokens")
    return list(ids)


def keyword_ids(tokenizer: PreTrainedTokenizerBase, keywords: Sequence[str]) -> list[int]:
    """Tokens that are a keyword, with or without a space before it, in any case; a SettingsError where none is."""
    wanted = {keyword.lower() for keyword in keywords}
    found = [i for i in range(len(tokenizer)) if decode(tokenizer, [i]).strip().lower() in wanted]
    if not found:
        listed = ", ".join(keywords)
        raise SettingsError(f"keywords: no token of the model is one of {listed}; give one that is a single token")
    return found
