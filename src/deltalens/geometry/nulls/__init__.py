"""The ladder of nulls: what each assumes, on which side it is valid, what it can support.

A null is one file here and one line in `TABLE`, imported when it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NullDescription:
    """What a reader must know before believing a null.

    Attributes:
        name: as in the documents.
        module: where it is computed.
        formula: what it computes.
        assumes: H0, and what must be true of the files.
        valid_for: sides and measures.
        supports: what may be concluded from it, and what not.
        source: where the formula comes from.
        supply: what a user gives so that the rung can speak; empty where the adapters suffice.
    """

    name: str
    module: str
    formula: str
    assumes: str
    valid_for: str
    supports: str
    source: str
    supply: str = ""


@dataclass(frozen=True)
class Undefined:
    """An outcome that is no number, and why."""

    reason: str


TABLE: dict[str, NullDescription] = {
    "haar": NullDescription(
        name="haar",
        module="deltalens.geometry.nulls.haar",
        formula="E overlap = k/d, Var tr(P1 P2) = 2 k^2 (d-k)^2 / (d^2 (d-1)(d+2)), "
        "E|cos| = Gamma(d/2) / (sqrt(pi) Gamma((d+1)/2))",
        assumes="the two subspaces are independent and uniformly random",
        valid_for="the input side of adapters with different initialisations",
        supports="that two row spaces are unrelated; too weak on the output side, where gradients "
        "of unrelated tasks share structure",
        source="moments of Haar matrices",
    ),
    "rotation": NullDescription(
        name="rotation",
        module="deltalens.geometry.nulls.rotation",
        formula="B2 -> B2 O; <dW1, B2 O A2> = tr(O M) with M = A2 A1^T B1^T B2 has mean 0 and "
        "variance |M|_F^2 / r",
        assumes="B is unrelated to its initial A and to the other task: B2 -> B2 O, O Haar in O(r)",
        valid_for="the update cosine, and the input side as a description; never the output side, "
        "whose columns it does not move",
        supports="a screen of the update cosine, which unrelated trained tasks of one seed reject "
        ".24 of the time at .05; for overlap it describes what the seed alone gives; never a claim",
        source="E tr(O M)^2 = |M|_F^2 / r for Haar O",
        supply="adapters whose lora_A is as training left it; --draws N for the input side",
    ),
    "activation": NullDescription(
        name="activation",
        module="deltalens.geometry.nulls.activation",
        formula="B2 -> B2 K_q^(-1/2) O K_q^(1/2) with K_q = A0 C^q A0^T, q = 1 and 2, the larger p",
        assumes="B = H C^(q/2) A0^T with H right-invariant; C are the base's input covariances",
        valid_for="the signed update cosine; not the overlaps (up to .57 at level .05 under Adam "
        "with strong anisotropy)",
        supports="a screen of the update cosine that knows of shared inputs; shared output "
        "gradients it does not know",
        source="invariance of B under the rotations of its own row covariance",
        supply="--covariances FILE, from `deltalens covariances`",
    ),
    "bank": NullDescription(
        name="bank",
        module="deltalens.geometry.nulls.bank",
        formula="p = (1 + #{T(a, c_j) >= T(a, b)}) / (m + 1) with a and with b, the larger p",
        assumes="under H0 the other adapter is exchangeable with the bank's members: the same "
        "initialisations, recipe, ranks, modules and storage, and tasks drawn alike",
        valid_for="every measure, on both sides",
        supports="claims: more alike than unrelated tasks of this initialisation; m >= 19 for .05",
        source="rank tests under exchangeability; Phipson and Smyth 2010 for the + 1",
        supply="--bank GLOB: unrelated adapters of the same initialisation and recipe, 19 or more",
    ),
    "ceiling": NullDescription(
        name="ceiling",
        module="deltalens.geometry.nulls.ceiling",
        formula="(observed - null) / (ceiling - null); signed measures across seeds: "
        "s_ij / sqrt(ceil_i ceil_j)",
        assumes="null, ceiling and pair have one seed relation and side; ceiling - null exceeds 3 "
        "standard errors",
        valid_for="overlaps with their null; signed cosines across initialisations",
        supports="how much of what one task gives twice is shared; it is no test",
        source="Spearman's correction for attenuation",
        supply="adapters of the same data with other initialisations, and "
        "deltalens.geometry.nulls.ceiling",
    ),
    "labels": NullDescription(
        name="labels",
        module="deltalens.geometry.nulls.labels",
        formula="p = #{T(permuted labels) >= T} / C(tasks, m); with draws (1 + #) / (draws + 1)",
        assumes="tasks are exchangeable between the labels; the runs of a task move together",
        valid_for="any measure of pairs, one seed relation at a time",
        supports="that tasks of one label are more alike than tasks of two; smallest p 1 / "
        "C(tasks, m), doubled where the statistic is symmetric in labels of equal size",
        source="Fisher's permutation test, the task as replicate",
        supply="several tasks a label: --group LABEL=GLOB, and deltalens.geometry.nulls.labels",
    ),
}
