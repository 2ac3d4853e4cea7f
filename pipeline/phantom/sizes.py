"""The phantom's sizes by name, each a plain record of counts, rates and noise."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import ConfigError

# Raised whenever the same size would give other numbers on disk, so that old copies are built anew.
VERSION = 1


@dataclass(frozen=True)
class SubjectSize:
    """How many vertices one simulated subject has, and how noisy they are.

    Parameters
    ----------
    fraction : float
        Share of the simulated vertices that this subject has, 0..1; drawn at random, so that subjects differ.
    reliability : float
        Mean over tuned vertices of the expected correlation of two repeats, 0..1. Set from what 3T data shows
        (0.2 to 0.5 in selected vertices), before any decoder was trained.
    spread : float
        Standard deviation of that reliability over vertices.
    """

    fraction: float
    reliability: float
    spread: float


@dataclass(frozen=True)
class PhantomSize:
    """Everything that decides what is written to disk.

    Parameters
    ----------
    name : str
        Name of the data set, such as ``"phantom"``.
    n_train, n_test : int
        Films (segments) of each kind.
    clips_per_segment : int
        Clips of 2 s in a film; a run records five or six volumes more, which the reader trims.
    train_repeats, test_repeats : int
        How often each subject sees each film.
    subjects : tuple of SubjectSize
    stride : int
        Take every n-th vertex before the subjects draw theirs.
    whole_cortex : bool
        Simulate all 59,412 cortical grayordinates (the untuned ones carry noise alone).
    tr : float
        Repetition time, seconds.
    film_onset_s : float
        Start of the film against the first volume of a 245-volume run, seconds. With -4 the response to clip j peaks
        in the volume that is number j after CC2017's trim; -2 would move the peak one volume later.
    seed : int
    """

    name: str
    n_train: int
    n_test: int
    clips_per_segment: int
    train_repeats: int
    test_repeats: int
    subjects: tuple[SubjectSize, ...]
    stride: int = 1
    whole_cortex: bool = False
    tr: float = 2.0
    film_onset_s: float = -4.0
    seed: int = 2017

    @property
    def films(self) -> tuple[tuple[str, int], ...]:
        """Each film's name and number of repeats, training first."""
        train = tuple((f"seg{i + 1}", self.train_repeats) for i in range(self.n_train))
        return train + tuple((f"test{i + 1}", self.test_repeats) for i in range(self.n_test))

    @property
    def n_runs(self) -> int:
        """Recordings of one subject."""
        return sum(repeats for _, repeats in self.films)


CLEAN, MIDDLE, NOISY = SubjectSize(0.50, 0.36, 0.15), SubjectSize(0.56, 0.31, 0.11), SubjectSize(0.46, 0.29, 0.10)

SIZES: dict[str, PhantomSize] = {
    "tiny": PhantomSize("phantom-tiny", 3, 1, 20, 2, 3, (CLEAN, NOISY), stride=10),
    "small": PhantomSize("phantom", 8, 1, 240, 2, 6, (CLEAN, MIDDLE, NOISY)),
    "full": PhantomSize("phantom-full", 18, 5, 240, 2, 10, (CLEAN, MIDDLE, NOISY), whole_cortex=True),
}


def phantom_size(size: str | PhantomSize) -> PhantomSize:
    """Return the size of a name (``tiny``, ``small``, ``full``), or the record itself.

    Raises
    ------
    ConfigError
        When no size has that name.
    """
    if isinstance(size, PhantomSize):
        return size
    if size not in SIZES:
        raise ConfigError(f"phantom: the sizes are {', '.join(SIZES)}, got {size!r}; choose one of them")
    return SIZES[size]
