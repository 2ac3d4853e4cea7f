"""What each importance statistic computes, assumes and can be trusted for, in plain sentences beside its equation."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class About:
    """A statistic for readers who will not open its code.

    Parameters
    ----------
    title : str
        A few words, for a list.
    equation : str
        As text; symbols as in ``statistics``: voxel v, output k of K, signal s, weights W, recording x.
    assumes, trust : str
        A sentence or two each: what must hold, and what the map may and may not be read as.
    source : str
    slow : bool
        Takes many decodings, so minutes rather than seconds.
    """

    title: str
    equation: str
    assumes: str
    trust: str
    source: str
    slow: bool = False

    def to_dict(self) -> dict[str, str | bool]:
        """Return it as plain values."""
        return asdict(self)


ABOUT: dict[str, About] = {
    "pattern": About(
        "Activation pattern, counterpart held constant",
        "I(v) = 1/K Σₖ |cov(x(v), rₖ)| / (sd x(v) · sd rₖ),   rₖ = sₖ − Σₛᵤ Σᵤᵤ⁻¹ u,   s = W x",
        "The voxel is linear in the decoded signals, and noise is uncorrelated with them. u: outputs of the "
        "counterpart (motion for anchor, anchor for motion); other modules have none.",
        "Trust it for where the signal is that anchor or motion reads and the other does not: chosen on the shipped "
        "phantom, it found the planted voxels of another one, made afterwards, as well. For the holistic module it did "
        "not find them.",
        "Haufe et al. 2014, NeuroImage 87, eq. 6 and theorem 1; counterpart by the Frisch-Waugh-Lovell theorem",
    ),
    "pattern_alone": About(
        "Activation pattern, each output alone",
        "I(v) = 1/K Σₖ |corr(x(v), sₖ)|,   s = W x",
        "Each output is the only source.",
        "Trust it for where anything is that goes along with the decoded signal. What merely covaries in the film, "
        "such as brightness with places, has a pattern too.",
        "Haufe et al. 2014, NeuroImage 87, eq. 7",
    ),
    "pattern_joint": About(
        "Activation pattern, all outputs jointly",
        "A = Σₓ Wᵀ Σₛ⁻¹,   I(v) = 1/K Σₖ |A(v, k)| / sd x(v)",
        "Every output is a source of its own, and each has a variance worth inverting.",
        "Do not trust it for a wide first layer: the inverse raises outputs of low variance, which decode nothing. It "
        "is here as the textbook's formula, to compare with.",
        "Haufe et al. 2014, NeuroImage 87, eq. 6",
    ),
    "weight": About(
        "Mean absolute weight, as in the paper",
        "I(v) = 1/K Σₖ |W(k, v)|",
        "Voxels are z-scored, and a large weight means signal.",
        "Trust it for how strongly a voxel is read. It is no map of where the signal is: a voxel without any gets a "
        "large weight when it cancels another's noise.",
        "SemVideo, section 4.4, figures 6, 12 and 13; the objection: Haufe et al. 2014, section 2.2",
    ),
    "weight_signed": About(
        "Mean weight with its sign, as in released code",
        "I(v) = 1/K Σₖ W(k, v)",
        "That the sign of an output means something, which it does not.",
        "Do not trust it: opposite signs cancel over outputs. It is here because released code computes it.",
        "released code of the field",
    ),
    "permutation": About(
        "Loss of held-out decoding when a region is shuffled",
        "I(R) = 1/n Σᵢ (scoreᵢ(X) − mean over shuffles of scoreᵢ(X with R shuffled))",
        "The validation runs stand for new recordings, and a region's voxels may be shuffled over clips together.",
        "Trust it for what this decoder would lose without a region. A low value does not mean that the region holds "
        "no signal: what another region tells as well is not lost.",
        "Breiman 2001, section 10; grouped as in Au et al. 2022",
        slow=True,
    ),
}
