"""Tasks, scorers and a model provider for Inspect AI.

`registry` is what Inspect finds through the entry point: the provider (`provider`, with `settings`,
`points`, `bases` and `batcher`), the tasks (`tasks`, `sources`) and the scorer (`scorers`,
`metrics`). `run` starts evaluations from Python, and `logs` reads a log back as our responses and
scores. Inspect itself is imported when it is used.
"""

from deltalens.integrations.inspect.logs import responses_of, scores_of
from deltalens.integrations.inspect.run import evaluate, evaluate_path

__all__ = ["evaluate", "evaluate_path", "responses_of", "scores_of"]
