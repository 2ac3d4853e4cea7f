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
    test : str
        What the p of an area asks, and what it cannot tell.
    interval : str
        What an area's interval is over.
    slow : bool
        Takes many decodings, so minutes rather than seconds.
    """

    title: str
    equation: str
    assumes: str
    trust: str
    source: str
    test: str
    interval: str
    slow: bool = False

    def to_dict(self) -> dict[str, str | bool]:
        """Return it as plain values."""
        return asdict(self)


_PATTERN = (
    "p: does the area carry what the other areas' read-out carries? Its own voxels are left out of the outputs, for "
    "what is observed and for the null, in which the outputs are shifted in time. Noise that areas share passes as a "
    "signal does, and so do random weights where areas share the film or noise: p says nothing of the training. What "
    "one area alone carries is not found.",
    "95 % interval over runs, left out one at a time (jackknife, Student's t), for the same voxels and weights.",
)
_WEIGHT = (
    "p: is the area read more strongly than as many voxels from anywhere? Neighbours are taken for independent, so it "
    "is somewhat liberal, and it says nothing of another recording or training.",
    "95 % interval over the area's voxels, not over recordings: weights are of one training.",
)

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
        *_PATTERN,
    ),
    "pattern_alone": About(
        "Activation pattern, each output alone",
        "I(v) = 1/K Σₖ |corr(x(v), sₖ)|,   s = W x",
        "Each output is the only source.",
        "Trust it for where anything is that goes along with the decoded signal. What merely covaries in the film, "
        "such as brightness with places, has a pattern too.",
        "Haufe et al. 2014, NeuroImage 87, eq. 7",
        *_PATTERN,
    ),
    "pattern_joint": About(
        "Activation pattern, all outputs jointly",
        "A = Σₓ Wᵀ Σₛ⁻¹,   I(v) = 1/K Σₖ |A(v, k)| / sd x(v)",
        "Every output is a source of its own, and each has a variance worth inverting.",
        "Do not trust it for a wide first layer: the inverse raises outputs of low variance, which decode nothing. It "
        "is here as the textbook's formula, to compare with.",
        "Haufe et al. 2014, NeuroImage 87, eq. 6",
        *_PATTERN,
    ),
    "weight": About(
        "Mean absolute weight, as in the paper",
        "I(v) = 1/K Σₖ |W(k, v)|",
        "Voxels are z-scored, and a large weight means signal.",
        "Trust it for how strongly a voxel is read. It is no map of where the signal is: a voxel without any gets a "
        "large weight when it cancels another's noise.",
        "SemVideo, section 4.4, figures 6, 12 and 13; the objection: Haufe et al. 2014, section 2.2",
        *_WEIGHT,
    ),
    "weight_signed": About(
        "Mean weight with its sign, as in released code",
        "I(v) = 1/K Σₖ W(k, v)",
        "That the sign of an output means something, which it does not.",
        "Do not trust it: opposite signs cancel over outputs. It is here because released code computes it.",
        "released code of the field",
        *_WEIGHT,
    ),
    "permutation": About(
        "Loss of held-out decoding when a region is shuffled",
        "I(R) = 1/n Σᵢ (scoreᵢ(X) − mean over shuffles of scoreᵢ(X with R shuffled))",
        "The validation runs stand for new recordings, and a region's voxels may be shuffled over clips together.",
        "Trust it for what this decoder would lose without a region. A low value does not mean that the region holds "
        "no signal: what another region tells as well is not lost.",
        "Breiman 2001, section 10; grouped as in Au et al. 2022",
        "p: is the loss above zero for other clips of these runs too? A shuffled area that is not read loses nothing.",
        "95 % bootstrap interval over blocks of held-out clips.",
        slow=True,
    ),
}
