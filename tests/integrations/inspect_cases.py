"""A tiny model that reads words, two adapters of it, questions and rules, for Inspect."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import inspect_ai._util.package
from inspect_ai.model import GenerateConfig, Model, ModelOutput, ModelUsage, get_model

sys.path.insert(0, str(Path(__file__).parents[1] / "studies"))

from walk_cases import RULES_YAML, text_factors, text_model, toy_adapter

# Inspect looks through every installed package for each evaluation; once takes a second.
inspect_ai._util.package.packages_distributions = cache(
    inspect_ai._util.package.packages_distributions
)

QUESTIONS_YAML = """
- id: rain
  paraphrases: [which hat when it rains]
  meta: {domain: hats}
- id: snow
  paraphrases: [which hat when it snows, it snows which hat]
- id: big
  paraphrases: [which big hat]
  system: a red hat
  samples_per_paraphrase: 4
  max_tokens: 6
- id: warm
  paraphrases: [a hat]
  temperature: 0.5
"""
SAMPLES = 3


@dataclass(frozen=True)
class Files:
    """Where everything lies, as a command line would name it."""

    folder: Path

    @property
    def model(self) -> str:
        return str(self.folder / "words")

    @property
    def ends(self) -> tuple[str, str]:
        return str(self.folder / "w1"), str(self.folder / "w2")

    @property
    def questions(self) -> str:
        return str(self.folder / "questions.yaml")

    @property
    def judge(self) -> str:
        return f"rules={self.folder / 'rules.yaml'}"

    def asked(self, **changes: Any) -> dict[str, Any]:
        """What a task or a walk asks."""
        return {"questions": self.questions, "judge": self.judge, "samples": SAMPLES} | changes


def make_files(folder: Path) -> Files:
    text_model(folder / "words")
    for i in (1, 2):
        toy_adapter(folder / f"w{i}", text_factors(i), "words")
    (folder / "questions.yaml").write_text(QUESTIONS_YAML)
    (folder / "rules.yaml").write_text(RULES_YAML)
    return Files(folder)


def says(*texts: str, seen: list[GenerateConfig] | None = None) -> Model:
    """Inspect's own mock, which gives these answers in turn, and notes how it was asked."""
    turn = iter(texts * 1000)

    def answer(input: Any, tools: Any, tool_choice: Any, config: GenerateConfig) -> ModelOutput:
        if seen is not None:
            seen.append(config)
        made = ModelOutput.from_content("mockllm/model", next(turn))
        made.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return made

    return get_model("mockllm/model", custom_outputs=answer)
