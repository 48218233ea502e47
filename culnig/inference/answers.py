"""The forward pass, and the answer that is read at the last position.

A hook in front of the output head hands it only the last real position of each item, or those where the
tokens of an option's text are predicted (`inference.likelihoods`). Whatever a family does after the head
(soft-capping, scaling) stays exact, and the logits are (read token, vocabulary) instead of
(item, token, vocabulary).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from culnig.core.outcomes import Outcomes, alignment, similarity
from culnig.errors import BindingError
from culnig.inference.attention import grouped_heads
from culnig.inference.batches import AnswerBatch, Batch, ModelInputs
from culnig.inference.fitting import Answering
from culnig.inference.likelihoods import log_probabilities, reads_texts, record, settle_batches
from culnig.inference.products import fast_products
from culnig.inference.readout import can_read_out, read_out, takes_logits
from culnig.kernels.transfers import to_device
from culnig.models.base import BoundModel

if TYPE_CHECKING:
    import torch


class ReadAnswers(NamedTuple):
    """Answers of a batch on the host."""

    predicted: NDArray[np.int64]
    """The most probable token, (item,)."""
    p_gold: NDArray[np.float64]
    """(item,)"""
    options: NDArray[np.float64]
    """Probability of each label, (item, most labels); an item of fewer labels ends with other numbers."""


class AnswerReader:
    """Runs batches through a bound model and reads the answer position. Use it as a context manager."""

    def __init__(self, bound: BoundModel) -> None:
        self._bound = bound
        self._model = bound.model
        self._tokenizer = bound.tokenizer
        self._inputs: ModelInputs | None = None
        """Inputs of the forward pass under way."""
        self._head_ran = False
        """Whether the forward pass under way called the head."""
        self._reads_out = False
        self._hidden: torch.Tensor | None = None
        """The head's input, between the head's two hooks, where `read_out` attaches the logits to it."""
        self._answering = Answering(bound, self.answer, settle=settle_batches)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> AnswerReader:
        head = self._model.get_output_embeddings()  # type: ignore[no-untyped-call]
        if head is None:
            raise BindingError(
                f"{type(self._model).__name__} has no output embeddings to read an answer from"
            )
        self._reads_out = can_read_out(head)
        self._stack.callback(head.register_forward_pre_hook(self._keep_last_position).remove)
        self._stack.callback(head.register_forward_hook(self._attach).remove)
        self._stack.enter_context(fast_products(self._model))
        # in backward passes too: checkpointing computes layers again there
        self._stack.enter_context(grouped_heads(self._bound.input_device))
        if self._model.training:
            self._stack.callback(self._model.train)
            self._model.eval()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _keep_last_position(self, head: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        if self._inputs is None:
            return inputs
        hidden, *remaining = inputs or (None,)
        if hidden is None or hidden.shape[:2] != self._inputs.token_ids.shape:
            received = "no positional input" if hidden is None else f"a tensor of shape {tuple(hidden.shape)}"
            raise BindingError(
                f"the output head of {type(self._model).__name__} receives {received}, expected the hidden "
                f"states of all {tuple(self._inputs.token_ids.shape)} tokens (item, token, width); its "
                "answers cannot be read"
            )
        self._head_ran = True
        rows, last = (to_device(index, hidden.device) for index in (self._inputs.rows, self._inputs.last))
        hidden = hidden[rows, last].unsqueeze(1)
        if self._reads_out and hidden.requires_grad:
            # with tied embeddings over several devices the head is on the first, its input on the last
            self._hidden = hidden = hidden.to(head.weight.device)
            if takes_logits(hidden):
                hidden = hidden[:0]  # spares the head its own product
        return (hidden, *remaining)

    def _attach(
        self, head: Any, inputs: tuple[torch.Tensor, ...], logits: torch.Tensor
    ) -> torch.Tensor | None:
        hidden, self._hidden = self._hidden, None
        return None if hidden is None else read_out(hidden, logits, head)

    def logits(self, batch: AnswerBatch) -> torch.Tensor:
        """Logits at the last real position of each item, or at each token before one of its text's.

        (read token, vocabulary); float64 where gradients are on.
        """
        import torch

        self._inputs = inputs = batch.inputs()
        self._head_ran = False
        device = self._bound.input_device
        options: dict[str, torch.Tensor] = {}
        if inputs.positions is not None:
            options["position_ids"] = to_device(inputs.positions, device)
        if inputs.visible is not None:
            dtype = self._model.dtype
            mask = torch.zeros(inputs.visible.shape, dtype=dtype)
            mask.masked_fill_(~inputs.visible, torch.finfo(dtype).min)
            options["attention_mask"] = to_device(mask, device)
        try:
            output = self._model(input_ids=to_device(inputs.token_ids, device), use_cache=False, **options)
        finally:  # other uses of the model, such as generation, see the whole head
            self._inputs = self._hidden = None
        logits = self._last_logits(output.logits, inputs)
        return logits if logits.dtype == torch.float64 else logits.float()

    def _last_logits(self, logits: torch.Tensor, inputs: ModelInputs) -> torch.Tensor:
        """Logits of each item's last token, from those that the model returned."""
        if self._head_ran and logits.shape[:2] == (len(inputs.rows), 1):
            return logits[:, -1]
        if not self._head_ran and logits.shape[:2] == inputs.token_ids.shape:  # it used the head's weight
            return logits[to_device(inputs.rows, logits.device), to_device(inputs.last, logits.device)]
        raise BindingError(
            f"{type(self._model).__name__} returns logits of shape {tuple(logits.shape)} for tokens of shape "
            f"{tuple(inputs.token_ids.shape)}, expected (item, token, vocabulary); its answers cannot be read"
        )

    def read(self, batch: AnswerBatch, probabilities: torch.Tensor) -> ReadAnswers:
        """The answers on the host, in one copy; `probabilities` is (item, vocabulary)."""
        import torch

        most = max(len(encoded.option_ids) for encoded in batch.items)
        ids = np.array(
            [
                (item.gold_id, *item.option_ids, *(item.gold_id,) * (most - len(item.option_ids)))
                for item in batch.items
            ]
        )
        values = probabilities.detach()
        chosen = values.gather(1, to_device(ids, values.device))
        predicted = values.argmax(-1, keepdim=True).to(values.dtype)  # exact: float32 counts to 16 million
        copied = torch.cat([predicted, chosen], 1).cpu().double().numpy()
        return ReadAnswers(copied[:, 0].astype(np.int64), copied[:, 1], copied[:, 2:])

    def record(self, batch: AnswerBatch, answers: ReadAnswers, outcomes: Outcomes) -> None:
        """Write the answers of a batch into `outcomes`."""
        for row, (number, encoded) in enumerate(zip(batch.numbers, batch.items, strict=True)):
            ids, predicted = list(encoded.option_ids), int(answers.predicted[row])
            outcomes.predicted[number] = self._token_text(predicted)
            item = encoded.item
            right = {ids[item.options.index(label)] for label in item.also_right}
            outcomes.correct[number] = predicted == encoded.gold_id or predicted in right
            outcomes.p_gold[number] = answers.p_gold[row]
            outcomes.n_tokens[number] = len(encoded.token_ids)
            outcomes.option_probabilities[number, : len(ids)] = answers.options[row, : len(ids)]
            if item.distribution:
                outcomes.similarity[number] = similarity(item.distribution, answers.options[row, : len(ids)])
            if item.ordinal:
                label = item.options[ids.index(predicted)] if predicted in ids else None
                outcomes.alignment[number] = alignment(item.options, item.answer, label)

    def _token_text(self, token_id: int) -> str:
        return str(self._tokenizer.decode([token_id]))

    def answer(self, batch: AnswerBatch, outcomes: Outcomes) -> None:
        """Forward a batch without gradients and record its answers; of texts, their log-probabilities."""
        import torch

        with torch.inference_mode():
            logits = self.logits(batch)
            if reads_texts(batch):
                record(batch, log_probabilities(batch, logits), outcomes)
            else:
                self.record(batch, self.read(batch, logits.softmax(-1)), outcomes)

    def answer_all(self, batches: Sequence[Batch], outcomes: Outcomes) -> None:
        """Answer batches, in halves where memory runs out; EnvironmentProblem if one item does not fit."""
        self._answering.run(batches, outcomes)


@contextlib.contextmanager
def frozen(model: torch.nn.Module) -> Iterator[None]:
    """No parameter requires a gradient inside; on exit each requires what it did before."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    for parameter, _ in before:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, required in before:
            parameter.requires_grad_(required)


def gold_probabilities(batch: Batch, probabilities: torch.Tensor) -> torch.Tensor:
    """P(gold) of each item, shape (item,), still attached to the graph."""
    gold = to_device(np.array([encoded.gold_id for encoded in batch.items]), probabilities.device)
    return probabilities.gather(1, gold[:, None]).squeeze(1)
