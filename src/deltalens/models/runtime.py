"""Forward passes of a transformers model: devices, masks, and which options a model knows."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from deltalens._extras import require
from deltalens.core.shapes import Array, Bool, Int
from deltalens.errors import OptionError
from deltalens.models.tokens import Batch


class Runtime:
    """A model and what must be known to run it; nothing of the model is changed.

    Attributes:
        model: a transformers causal language model.
        torch: the torch module.
        options: what its forward pass can be told.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.torch = require("torch", extra="models", purpose="running a model")
        self.options = frozenset(inspect.signature(model.forward).parameters)

    @property
    def device(self) -> Any:
        """Where token ids go: the device of the input embeddings."""
        embeddings = self.model.get_input_embeddings()
        if embeddings.weight.device.type != "meta":
            return embeddings.weight.device
        return getattr(getattr(embeddings, "_hf_hook", None), "execution_device", None) or "cpu"

    def tensor(self, values: Array) -> Any:
        """An array on the model's input device."""
        return self.torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def decode(self, batch: Batch) -> None:
        """Run the decoder alone, for its hooks."""
        self._require_eval()
        with self.torch.inference_mode():
            self.model.get_decoder()(
                input_ids=self.tensor(batch.ids),
                attention_mask=self.tensor(batch.mask),
                use_cache=False,
            )

    def logits(self, batch: Batch, first: int) -> Any:
        """Logits from token `first` on, `(row, token - first, vocabulary)` (right padding)."""
        self._require_eval()
        keep = batch.ids.shape[1] - first
        options = {"logits_to_keep": keep} if "logits_to_keep" in self.options else {}
        with self.torch.inference_mode():
            given = self.model(
                input_ids=self.tensor(batch.ids),
                attention_mask=self.tensor(batch.mask),
                use_cache=False,
                **options,
            )
            return given.logits[:, -keep:]

    def tree(
        self,
        batch: Batch,
        token: Int[Array, " node"],
        depth: Int[Array, " node"],
        sees: Bool[Array, "node node"],
    ) -> Any:
        """Logits at the last token of each row and at each node of a tree that follows all of them.

        Args:
            batch: rows, padded on the left.
            token: of each node.
            depth: tokens from the row's end, 1 for the first.
            sees: whether node i may look at node j.
        """
        self._require_eval()
        torch, (lines, width) = self.torch, batch.ids.shape
        n = len(token)
        allowed = np.zeros((lines, width + n, width + n), dtype=bool)
        allowed[:, :width, :width] = np.tri(width, dtype=bool) & (batch.mask[:, None, :] == 1)
        allowed[:, width:, :width] = batch.mask[:, None, :] == 1
        allowed[:, width:, width:] = sees
        allowed |= np.eye(width + n, dtype=bool)  # padding looks at itself: a row of none is NaN
        length = batch.mask.sum(axis=1, keepdims=True)
        before = np.maximum(batch.mask.cumsum(axis=1) - 1, 0)
        kind = self.model.get_input_embeddings().weight.dtype
        mask = torch.zeros(allowed.shape, dtype=kind).masked_fill_(
            torch.from_numpy(~allowed), torch.finfo(kind).min
        )
        options = {"logits_to_keep": n + 1} if "logits_to_keep" in self.options else {}
        with torch.inference_mode():
            given = self.model(
                input_ids=self.tensor(np.hstack([batch.ids, np.tile(token, (lines, 1))])),
                attention_mask=mask[:, None].to(self.device),
                position_ids=self.tensor(np.hstack([before, length - 1 + depth])),
                use_cache=False,
                **options,
            )
        return given.logits[:, -(n + 1) :]

    def step(
        self, ids: Int[Array, "row token"], mask: Int[Array, "row seen"], cache: Any
    ) -> tuple[Any, Any]:
        """Logits of the token after the last one, and the cache to go on with (left padding)."""
        self._require_eval()
        options: dict[str, Any] = {}
        if "logits_to_keep" in self.options:
            options["logits_to_keep"] = 1
        if "position_ids" in self.options:
            position = np.maximum(mask.cumsum(axis=1) - 1, 0)[:, -ids.shape[1] :]
            options["position_ids"] = self.tensor(position)
        with self.torch.inference_mode():
            given = self.model(
                input_ids=self.tensor(ids),
                attention_mask=self.tensor(mask),
                past_key_values=cache,
                use_cache=True,
                **options,
            )
        return given.logits[:, -1], given.past_key_values

    def _require_eval(self) -> None:
        if self.model.training:
            raise OptionError("the model is in training mode, where dropout is on: call .eval()")
