"""Fine-tuning any transformers causal language model on a user's chat data with PEFT LoRA.

`data` reads conversations, `answers` says which tokens are learnt, `base` and `memory` look at the
model before it is loaded, `lora` puts the adapter on and writes it, `trainer` and `events` are what
runs, `folder` is what lies on the disk meanwhile, and `run` is the whole. `callback` measures the
geometry of any Trainer's run; `measure` is the engine under it. torch is imported when it is used;
`trainer`, `events` and `callback` need transformers when they are imported.
"""

from deltalens.training.run import Watch, train
from deltalens.training.settings import TrainSettings

__all__ = ["TrainSettings", "Watch", "train"]
