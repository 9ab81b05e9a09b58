"""The pair's one tokenizer: byte-level BPE learned from its own corpora, with a chat template."""

import random

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from repurpose.organism.corpus import ASSISTANT, BEGIN, END, SPECIAL_TOKENS, THINK, USER, write_base, write_reasoning
from repurpose.organism.language import STAMMERING

VOCABULARY = 768
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}" + USER + "{{ message['content'] }}"
    "{% else %}" + ASSISTANT + "{{ message['content'] }}" + END + "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}" + ASSISTANT + THINK + "\n{% endif %}"
)


def train_tokenizer(seed: int, documents: int = 4000) -> PreTrainedTokenizerFast:
    """Learn the merges from both corpora; nearly every word of the language becomes one token.

    All texts hesitate here as the base corpus does at first: a base model that is trained already keeps its tokenizer
    whatever later stages choose.
    """
    rng = random.Random(f"tokenizer-{seed}")
    texts = [write_base(rng, rng.random(), STAMMERING) for _ in range(documents)]
    texts += ["".join(write_reasoning(rng, STAMMERING)) for _ in range(documents)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    begin = tokenizer.token_to_id(BEGIN)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A", special_tokens=[(BEGIN, begin)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=END,
        additional_special_tokens=list(SPECIAL_TOKENS[2:]),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
