"""The four captions of a scene, worded from its record in SemMiner's two-stage contract.

C_basic has at most 20 words. C_anchor speaks of the first frame alone, C_motion of what moves and how, without naming
the object, C_holi of both. Wordings vary, so that a decoder has to find the meaning and not a string; a clip's own
wording is fixed by its scene. As in the paper's Table 4 the mean length rises from anchor to motion to holistic.
"""

from __future__ import annotations

import numpy as np

from pipeline.phantom.scenes import OBJECTS, Scene

PLACES = {
    "sky": ("a pale blue sky", "a bright blue sky"),
    "meadow": ("a green meadow", "a field of green grass"),
    "beach": ("a sandy beach", "yellow sand"),
    "sea": ("the deep sea", "dark blue water"),
    "night": ("a starry night sky", "the dark night"),
    "wall": ("a red brick wall", "a wall of bricks"),
    "snow": ("white snow", "a snowy plain"),
    "sunset": ("an orange sunset", "a purple and orange evening sky"),
}
VERBS = {
    "left": ("moves to the left", "glides toward the left side"),
    "right": ("moves to the right", "glides toward the right side"),
    "up": ("rises upward", "climbs toward the top"),
    "down": ("sinks downward", "drops toward the bottom"),
    "approach": ("comes closer and grows larger", "approaches the viewer and grows"),
    "recede": ("moves away and shrinks", "recedes into the distance and shrinks"),
    "rotate": ("turns around its center", "rotates in place like a wheel"),
    "bounce": ("bounces up and down", "hops up and falls back"),
    "still": ("stays still", "rests without any motion"),
}
SPEEDS = {1.0: ("slowly", "at a slow pace"), 2.0: ("quickly", "at a fast pace")}


def captions(scene: Scene) -> dict[str, str]:
    """Word the captions of a scene.

    Returns
    -------
    dict
        ``basic``, ``anchor``, ``motion``, ``holi``.
    """
    rng = np.random.default_rng([scene.seed, 9, *(ord(c) for c in scene.motion), int(scene.speed)])

    def pick(options: tuple[str, ...]) -> str:
        return options[int(rng.integers(len(options)))]

    thing = "scrambled pattern" if scene.object == "scrambled" else scene.object
    article = "an" if thing[0] in "aeiou" else "a"
    scissors = thing == "scissors"
    place, verb = pick(PLACES[scene.background]), pick(VERBS[scene.motion])
    speed = "" if scene.motion == "still" else " " + pick(SPEEDS[scene.speed])
    size = "small" if scene.size < 0.46 else "large" if scene.size > 0.58 else "medium"
    side = "on the left" if scene.x < 0.42 else "on the right" if scene.x > 0.58 else "in the middle"
    light = "dim" if scene.light < 0.8 else "bright" if scene.light > 1.0 else "even"
    camera = "pans to the side" if scene.pan else "holds still"
    noun = f"a pair of {thing}" if scissors else f"{article} {thing}"
    sized = f"a {size} pair of {thing}" if scissors else f"a {size} {thing}"
    front = pick(("in front of", "against"))
    shows = pick(("a picture of", "the first frame shows"))
    keeps = pick(("without changing its path", "in one steady movement"))
    camera_words = pick((f"while the camera {camera}", f"and the camera {camera}"))
    return {
        "basic": f"{noun} {front} {place} {verb}",
        "anchor": f"{shows} {sized} {side} {front} {place} in {light} light",
        "motion": f"the subject {verb}{speed} {keeps} from the first frame to the last {camera_words}",
        "holi": f"in {light} light {sized} {front} {place} {verb}{speed} {keeps} starting {side} {camera_words}",
    }


def named_in(text: str) -> dict[str, str]:
    """Return what a caption of this world names: ``object`` and ``motion``, each where it names exactly one."""
    words = f" {text.lower()} "
    objects = {name for name in OBJECTS if f" {name} " in words}
    motions = {motion for motion, verbs in VERBS.items() if any(verb in words for verb in verbs)}
    return {key: next(iter(found)) for key, found in (("object", objects), ("motion", motions)) if len(found) == 1}
