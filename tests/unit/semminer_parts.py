"""What the tests of SemMiner share: tiny models of each family, and an answerer that says what it is told."""

from __future__ import annotations

import tiny_mllm

from pipeline.semminer.chain import ChainCaptioner
from pipeline.semminer.contract import MinerSettings
from pipeline.semminer.prompts import read_prompts

SMALL = MinerSettings(n_frames=3, max_new_tokens=8)
FAMILIES = {
    "qwen2_5_vl": tiny_mllm.save_tiny_qwen,
    "llava_onevision": tiny_mllm.save_tiny_llava,
    "video_llama_3": tiny_mllm.save_tiny_video_llama,
}


class Scripted:
    """An answerer that says what it is told, and remembers what it was asked."""

    name, concurrent = "scripted", False

    def __init__(self, reply):
        self.reply, self.asked = reply, []

    def identity(self):
        return {"backend": "scripted", "model": self.name}

    def answer(self, questions):
        self.asked += [question.prompt for question in questions]
        return [self.reply(question.prompt) for question in questions]


def scripted(reply, settings=SMALL, batch_size=2):
    return ChainCaptioner(Scripted(reply), read_prompts(), settings, batch_size)


def level_of(prompt):
    """Which of the shipped templates a prompt was made from."""
    signs = {"Give the main event": "shorter", "Describe the first": "anchor", "only what changes": "motion"}
    found = [level for sign, level in signs.items() if sign in prompt]
    return found[0] if found else "holi" if "coherent story" in prompt else "basic"
