"""What makes two models a pair."""

from repurpose.model.loading import ModelError, load_config
from repurpose.model.tokens import check_same_ids, load_tokenizer
from repurpose.study.pair_files import ROLES, check_shapes
from repurpose.study.settings import Pair


def check_pair(pair: Pair) -> None:
    """Refuse a pair that no study can use, from the small files of both models: no weights are loaded.

    Raises:
        ModelError: for a model that cannot be had, tokenizers that disagree, or prompts without a template.
        SettingsError: for models of different shapes.
    """
    base, reasoning = (load_config(pair, role).to_dict() for role in ROLES)
    check_shapes(base, reasoning)
    tokenizer = load_tokenizer(pair, "reasoning")
    check_same_ids(tokenizer, load_tokenizer(pair, "base"))
    if not tokenizer.chat_template:
        raise ModelError(f"pair.reasoning: the tokenizer of {pair.reasoning} has no chat template for the prompts")


def check_context(pair: Pair, longest: int) -> None:
    """Refuse texts longer than either model can read (ModelError); `longest` counts tokens, prompt included."""
    for role in ROLES:
        most = getattr(load_config(pair, role), "max_position_embeddings", None)
        if most is not None and longest > most:
            raise ModelError(
                f"pair.{role}: it reads at most {most} tokens and the longest text may have {longest}, prompt "
                "included; lower max_new_tokens"
            )
