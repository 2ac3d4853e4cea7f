"""The decoders, one file per published system.

``METHODS`` names them. A value is where the class lives, not the class, because a method needs torch and most
commands do not: :func:`load_method` imports it when it is asked for.

Every method class answers the same calls, so that no caller asks for a name:

=============================  =====================================================================
``NAME``                       its key in ``METHODS``
``CONFIG``                     its pydantic config class; published sizes are the defaults
``STAGES``                     what is trained, in order
``ABLATIONS``                  what a user may switch off
``build(config, sizes)``       an untrained model for the sizes that only the data knows
``prepare(stage, targets)``    learn the constants of a stage (means, scales) from training targets
``training_step(...)``         the losses of one batch of one stage
``decode(clipset, ...)``       the same clip set with its cues filled, from fMRI alone
``first_layers(subject)``      the weights that read the voxels, for importance maps
=============================  =====================================================================
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.methods.semvideo import SemVideo

METHODS: dict[str, tuple[str, str]] = {
    "semvideo": ("pipeline.methods.semvideo", "SemVideo"),
}

PRESETS: dict[str, tuple[str, str]] = {
    "semvideo": ("semvideo", "published sizes"),
    "semvideo-phantom": ("semvideo", "the phantom's world: trains in minutes on two cores"),
    "semvideo-tiny": ("semvideo", "a few thousand weights, for trying the machinery"),
}


def load_method(name: str) -> type[SemVideo]:
    """Import and return the method class called ``name``.

    Raises
    ------
    ConfigError
        When no method has that name.
    """
    if name not in METHODS:
        raise ConfigError(f"method {name!r} is not known, expected one of {', '.join(METHODS)}")
    module, attribute = METHODS[name]
    method: type[SemVideo] = getattr(import_module(module), attribute)
    return method
