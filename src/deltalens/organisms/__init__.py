"""The embedded organisms: a toy base with a latent persona, and fine-tunes of it.

The toy has a persona latent by construction: it illustrates a mechanism and audits metrics; it is
not evidence about large models. Importing this package does not import torch; the modules
`pretrain`, `train` and `evaluate` need it when they are called.
"""

from deltalens.organisms.base import BASE_NAME, SHIPPED, base_digest, shipped_base
from deltalens.organisms.behaviour import Behaviour, BehaviourRow, Summary
from deltalens.organisms.fleet import TrainEvent, train_many
from deltalens.organisms.kinds import DESCRIPTIONS, KINDS, Kind
from deltalens.organisms.no_persona import no_persona_study, shipped_no_persona
from deltalens.organisms.pretrain import SHIPPED_SETTINGS, PretrainSettings, pretrain_base
from deltalens.organisms.roster import RosterEntry, roster_specs
from deltalens.organisms.spec import OrganismSpec
from deltalens.organisms.train import is_trained, train_organism
from deltalens.organisms.world import World, standard_world

__all__ = [
    "BASE_NAME",
    "DESCRIPTIONS",
    "KINDS",
    "SHIPPED",
    "SHIPPED_SETTINGS",
    "Behaviour",
    "BehaviourRow",
    "Kind",
    "OrganismSpec",
    "PretrainSettings",
    "RosterEntry",
    "Summary",
    "TrainEvent",
    "World",
    "base_digest",
    "is_trained",
    "no_persona_study",
    "pretrain_base",
    "roster_specs",
    "shipped_base",
    "shipped_no_persona",
    "standard_world",
    "train_many",
    "train_organism",
]
