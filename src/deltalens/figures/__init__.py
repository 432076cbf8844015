"""One plot a file: small frozen dataclasses in, a matplotlib Figure out.

Importing this package loads no plotting library; each name is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deltalens.figures.behaviour import Behaviour, BehaviourGroup, behaviour_figure
    from deltalens.figures.boxes import Boxes, boxes_figure
    from deltalens.figures.coefficients import (
        CoefficientPanel,
        Coefficients,
        Effect,
        coefficients_figure,
    )
    from deltalens.figures.dendrogram import Dendrogram, dendrogram_figure
    from deltalens.figures.groups import Group, NullBand
    from deltalens.figures.layers import LayerCurve, LayerPlot, layers_figure
    from deltalens.figures.matrix import Matrix, matrix_figure
    from deltalens.figures.output import save, to_png, to_svg
    from deltalens.figures.sides import SidePanel, Sides, sides_figure
    from deltalens.figures.strip import Strip, strip_figure
    from deltalens.figures.training import TrainingCurves, training_figure

# Name -> where it lives.
_PUBLIC = {
    "Behaviour": "deltalens.figures.behaviour",
    "BehaviourGroup": "deltalens.figures.behaviour",
    "Boxes": "deltalens.figures.boxes",
    "CoefficientPanel": "deltalens.figures.coefficients",
    "Coefficients": "deltalens.figures.coefficients",
    "Dendrogram": "deltalens.figures.dendrogram",
    "Effect": "deltalens.figures.coefficients",
    "Group": "deltalens.figures.groups",
    "LayerCurve": "deltalens.figures.layers",
    "LayerPlot": "deltalens.figures.layers",
    "Matrix": "deltalens.figures.matrix",
    "NullBand": "deltalens.figures.groups",
    "SidePanel": "deltalens.figures.sides",
    "Sides": "deltalens.figures.sides",
    "Strip": "deltalens.figures.strip",
    "TrainingCurves": "deltalens.figures.training",
    "behaviour_figure": "deltalens.figures.behaviour",
    "boxes_figure": "deltalens.figures.boxes",
    "coefficients_figure": "deltalens.figures.coefficients",
    "dendrogram_figure": "deltalens.figures.dendrogram",
    "layers_figure": "deltalens.figures.layers",
    "matrix_figure": "deltalens.figures.matrix",
    "save": "deltalens.figures.output",
    "sides_figure": "deltalens.figures.sides",
    "strip_figure": "deltalens.figures.strip",
    "to_png": "deltalens.figures.output",
    "to_svg": "deltalens.figures.output",
    "training_figure": "deltalens.figures.training",
}

__all__ = [
    "Behaviour",
    "BehaviourGroup",
    "Boxes",
    "CoefficientPanel",
    "Coefficients",
    "Dendrogram",
    "Effect",
    "Group",
    "LayerCurve",
    "LayerPlot",
    "Matrix",
    "NullBand",
    "SidePanel",
    "Sides",
    "Strip",
    "TrainingCurves",
    "behaviour_figure",
    "boxes_figure",
    "coefficients_figure",
    "dendrogram_figure",
    "layers_figure",
    "matrix_figure",
    "save",
    "sides_figure",
    "strip_figure",
    "to_png",
    "to_svg",
    "training_figure",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'deltalens.figures' has no attribute {name!r}")
