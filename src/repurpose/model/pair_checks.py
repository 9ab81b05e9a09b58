"""What makes two models a pair."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from repurpose.model.hooks import HookError, decoder_layers
from repurpose.model.loading import ModelError, empty_model, generation_stop_ids, load_shape, load_text_config
from repurpose.model.tokens import check_same_ids, load_tokenizer
from repurpose.study.messages import as_line
from repurpose.study.pair_files import KNOWN_LAYERS, ROLES, WEIGHTS_SUFFIX, check_shapes
from repurpose.study.settings import Pair, Role


def check_pair(pair: Pair) -> None:
    """Refuse a pair that no study can use, from the small files of both models: of weights the headers are read.

    Raises:
        ModelError: for a model that cannot be had or steered, damaged weights, tokenizers that disagree, or prompts
            without a template.
        SettingsError: for models of different shapes.
    """
    for role in ROLES:
        check_layers_are_known(pair, role)
        check_headers(pair, role)
        generation_stop_ids(pair, role)
    check_shapes(load_shape(pair, "base"), load_shape(pair, "reasoning"))
    check_same_ids(load_tokenizer(pair, "reasoning"), load_tokenizer(pair, "base"))
    check_rows(pair)
    check_template(pair, "reasoning")


def check_layers_are_known(pair: Pair, role: Role) -> None:
    """Refuse a model whose layers could be neither read nor steered (ModelError)."""
    try:
        decoder_layers(empty_model(pair, role))
    except HookError as problem:
        raise ModelError(f"pair.{role}: {problem}; {KNOWN_LAYERS}") from None


def check_headers(pair: Pair, role: Role) -> None:
    """Refuse files of a local model's weights that are damaged or cut off, as their headers tell (ModelError)."""
    for file in sorted(Path(getattr(pair, role)).expanduser().glob(f"*{WEIGHTS_SUFFIX}")):
        try:
            safe_open(file, framework="pt")
        except (OSError, ValueError, SafetensorError) as problem:
            said = as_line(str(problem).partition("\n")[0])
            raise ModelError(
                f"pair.{role}: {file} is no whole safetensors file ({said}); give the model's own files"
            ) from None


def check_rows(pair: Pair) -> None:
    """Refuse a pair of which one model has no embedding for what the other may write (ModelError).

    Special tokens begin, end and fill texts; of these only what stands in prompts is read, see `check_ids_fit`.
    """
    added = load_tokenizer(pair, "reasoning").added_tokens_decoder
    written = {
        i: t for t, i in load_tokenizer(pair, "reasoning").get_vocab().items() if not (i in added and added[i].special)
    }
    for role in ROLES:
        size = int(load_text_config(pair, role).vocab_size)
        if (last := max(written, default=0)) >= size:
            raise ModelError(
                f"pair.{role}: it has embeddings for {size} tokens, and {written[last]!r} is token {last} of "
                "pair.reasoning's tokenizer; give a pair that has all tokens of text in common"
            )


def check_template(pair: Pair, role: Role) -> None:
    """Refuse a tokenizer that cannot put a prompt into a model's form (ModelError)."""
    if not load_tokenizer(pair, role).chat_template:
        name = getattr(pair, role)
        raise ModelError(
            f"pair.{role}: the tokenizer of {name} has no chat template for the prompts; add one to its files "
            "(chat_template.jinja)"
        )


def check_context(pair: Pair, longest: int, setting: str = "max_new_tokens") -> None:
    """Refuse texts longer than either model can read (ModelError).

    Args:
        longest: tokens, prompt included. setting: which one decides that.
    """
    for role in ROLES:
        most = getattr(load_text_config(pair, role), "max_position_embeddings", None)
        if most is not None and longest > most:
            raise ModelError(
                f"pair.{role}: it reads at most {most} tokens and the longest text may have {longest}, prompt "
                f"included; lower {setting}"
            )
