"""The `openai` engine: rollouts from a model behind an OpenAI-compatible server; it cannot steer.

A server speaks text. Where it can return the ids that it sampled (vLLM's own extension), those are stored; otherwise
the text is tokenised once, with the generator's tokenizer, and what does not decode to the same text is an error. Some
servers split the thinking off (`reasoning_content`): it is put back between the tags that the chat template uses.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import openai
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from transformers import PreTrainedTokenizerBase

from repurpose.model.endpoint import EndpointError, explain, make_client, mask, sampling_fields
from repurpose.model.engines import Generated, Question, Sampling
from repurpose.model.tokens import decode
from repurpose.study.settings import Endpoint

OPEN, CLOSE = "<think>", "</think>"
SEED_BITS = 31
"""Servers take seeds of 32 or 64 bits, signed or not; these fit all."""
ATTEMPTS = 3
"""For one answer without text; the SDK's own retries come on top."""
IdsFrom = Literal["tokenizer", "server"]
Answered = Callable[[int, Generated], None]
"""Called with (index of the question, outcome) for each answer that has arrived."""


class ApiEngine:
    """Asks a server for rollouts, a bounded number at once."""

    def __init__(self, endpoint: Endpoint, tokenizer: PreTrainedTokenizerBase, ids_from: IdsFrom) -> None:
        self._endpoint, self._tokenizer, self._ids_from = endpoint, tokenizer, ids_from

    def generate(self, questions: Sequence[Question], sampling: Sampling, finished: Answered) -> None:
        """Ask all questions and hand over each answer as it arrives, those before an EndpointError too."""
        asyncio.run(self._generate(questions, sampling, finished))

    async def _generate(self, questions: Sequence[Question], sampling: Sampling, finished: Answered) -> None:
        slots = asyncio.Semaphore(self._endpoint.concurrency)
        async with make_client(self._endpoint) as client:

            async def answer(index: int, question: Question) -> None:
                async with slots:
                    finished(index, await self._answer(client, question, sampling))

            try:
                async with asyncio.TaskGroup() as group:
                    for index, question in enumerate(questions):
                        group.create_task(answer(index, question))
            except BaseExceptionGroup as problems:
                raise problems.exceptions[0] from None

    async def _answer(self, client: AsyncOpenAI, question: Question, sampling: Sampling) -> Generated:
        said = ""
        for attempt in range(ATTEMPTS):
            completion = await self._ask(client, question, sampling, attempt)
            choice = completion.choices[0] if completion.choices else None
            text = self.read_text(choice.message, question) if choice else ""
            if mask(text, self._endpoint) != text:
                raise EndpointError(f"{question.name}: {self._endpoint.model}'s answer holds the key that it was given")
            if choice and text and choice.finish_reason in ("stop", "length"):
                return Generated(self.read_ids(choice, text, question), choice.finish_reason)
            said = f"finish reason {choice.finish_reason}" if choice else "no choices"
        raise EndpointError(f"{question.name}: no text in {ATTEMPTS} answers of {self._endpoint.model} ({said})")

    async def _ask(self, client: AsyncOpenAI, question: Question, sampling: Sampling, attempt: int) -> ChatCompletion:
        endpoint, messages = self._endpoint, cast(list[ChatCompletionMessageParam], question.messages)
        fields = sampling_fields(endpoint, sampling.max_new_tokens)
        if endpoint.temperature is not None:
            fields |= {"temperature": sampling.temperature, "top_p": sampling.top_p}
        if self._ids_from == "server":
            fields["extra_body"] = {"return_token_ids": True}
        seed = (question.seed + attempt) % 2**SEED_BITS
        try:
            completion: ChatCompletion = await client.chat.completions.create(
                model=endpoint.model, messages=messages, seed=seed, **fields
            )
        except openai.OpenAIError as problem:
            raise explain(problem, endpoint) from None
        return completion

    def read_text(self, message: Any, question: Question) -> str:
        """The answer as the model wrote it after the prompt: thinking and content, with the tags between them."""
        thinking = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
        content: str = message.content or ""
        if not thinking:
            return content
        start = "" if decode(self._tokenizer, question.prompt_ids).rstrip().endswith(OPEN) else f"{OPEN}\n"
        return f"{start}{thinking}" if not content else f"{start}{thinking}\n{CLOSE}\n\n{content.lstrip()}"

    def read_ids(self, choice: Any, text: str, question: Question) -> list[int]:
        """The ids of an answer; an EndpointError where the server gives none or text is not tokenised without loss."""
        if self._ids_from == "server":
            given = getattr(choice, "token_ids", None)
            if not isinstance(given, list) or not all(type(i) is int for i in given):
                raise EndpointError(
                    f"rollouts.ids: {self._endpoint.model}'s server returns no token ids; give 'tokenizer'"
                )
            return given[:-1] if given and given[-1] == self._tokenizer.eos_token_id else given
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        if decode(self._tokenizer, ids) != text:
            raise EndpointError(
                f"{question.name}: the text is not what its ids decode to; is the tokenizer the model's?"
            )
        return ids
