"""The exception tree.

DeltalensError                 bad input: the command line prints one line and exits with 2
├── AdapterError               a file or folder that is not a readable adapter
│   └── UnsupportedAdapterError    a known method that is not read yet, refused by name
├── BaseModelError             a base model directory that cannot serve as one
├── GeometryError              a measure that was asked for where it is not defined
├── BehaviourError             questions, rules, responses or scores that cannot be used
├── TrainingDataError          conversations that cannot be learnt from
├── TrainingError              a training that went wrong while it ran
├── OptionError                an impossible option or combination of options
├── DependencyError            an optional dependency that is not installed
└── OutputError                a result that could not be written

Operating system and memory errors are told in one line, too, and the command line exits with 2.
Anything else that escapes is a fault of ours: the command line exits with 3.
Every message names the offender, what was found and what is allowed.
"""

from __future__ import annotations


class DeltalensError(Exception):
    """Bad input: one line that names the offender, what was found and what is allowed."""


class AdapterError(DeltalensError):
    """A file or folder that is not a readable adapter."""


class UnsupportedAdapterError(AdapterError):
    """A known method whose update is not read correctly yet, hence refused by name."""


class BaseModelError(DeltalensError):
    """A base model directory that cannot serve as one, or does not fit the adapter."""


class GeometryError(DeltalensError):
    """A measure that was asked for where it is not defined."""


class BehaviourError(DeltalensError):
    """Questions, rules, responses or scores that cannot be used, or a judge that keeps failing."""


class TrainingDataError(DeltalensError):
    """A file of conversations, or a line of it, that cannot be learnt from."""


class TrainingError(DeltalensError):
    """A training that went wrong while it ran: the loss or the gradient is no number."""


class OptionError(DeltalensError):
    """An impossible option or combination of options."""


class DependencyError(DeltalensError):
    """An optional dependency that is not installed."""


class OutputError(DeltalensError):
    """A result that could not be written."""
