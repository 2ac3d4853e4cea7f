"""From what a language model says to a caption: one line of plain text."""

from __future__ import annotations

import json
import re

_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_THOUGHT_END = re.compile(r"^.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_TOKENS = re.compile(r"<\|[^<>|]{1,40}\|>|</?(?:s|pad|unk|bos|eos|image|video|answer)>", re.IGNORECASE)
_FENCE = re.compile(r"^\s*```[\w-]*[ \t]*$", re.MULTILINE)
_BULLET = re.compile(r"^\s*(?:[-*+\u2022]|#{1,6}|>|\(?\d{1,2}[.)])\s+")
_EMPHASIS = (
    re.compile(r"(\*\*|__|``?)(?=\S)(.+?)(?<=\S)\1"),
    re.compile(r"(?<![\w*])([*_])(?=\S)(.+?)(?<=\S)\1(?![\w*])"),
)
_KIND = r"(?:caption|summary|description|answer|response|narrative|sentence|prompt|frame|event)s?"
_QUALITY = (
    r"(?:basic|anchor|motion|holi|holistic|short|brief|final|video|core|main|first|static|dynamic|one|the|a|in|"
    r"frame|event)"
)
_LEVEL = r"(?:basic|anchor|motion|holi(?:stic)?)"
_LABEL = re.compile(
    rf"^(?:c[_ ]?\{{?{_LEVEL}\}}?|(?:{_QUALITY}[ -]){{0,4}}{_KIND}|{_LEVEL})\s*(?:\([^()]{{0,40}}\))?\s*[:=]\s*",
    re.IGNORECASE,
)
_LEAD_IN = re.compile(
    r"^(?:sure|certainly|of course|okay|ok|absolutely|great|here(?:'s| is| are))\b[^:\n]{0,100}:\s*", re.IGNORECASE
)
_QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019", "\u00ab": "\u00bb", "\u201e": "\u201c"}
_MAX_CHARACTERS = 20_000


def clean(answer: str) -> str:
    """Take a caption out of a model's answer.

    Removes thoughts, control tokens, code fences, JSON around the text, headings, bullets, emphasis, lead-ins ("Here is
    the caption:"), labels ("Caption:", "C_basic:") and enclosing quotes; joins the lines.

    Returns
    -------
    str
        One line; empty where nothing is left.
    """
    text = _THOUGHT.sub(" ", answer[:_MAX_CHARACTERS])
    text = _TOKENS.sub(" ", _THOUGHT_END.sub(" ", text))
    text = _from_json(_FENCE.sub("", text).strip())
    lines = [line for line in map(_plain_line, text.splitlines()) if line]
    # A heading of its own ("Caption:") or a lead-in says nothing when a line follows.
    while len(lines) > 1 and lines[0].endswith(":"):
        del lines[0]
    text = " ".join(lines)
    before = None
    while before != text:
        before = text
        text = _unquoted(_LABEL.sub("", _LEAD_IN.sub("", text)).strip())
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def cut_words(text: str, n_words: int) -> str:
    """Return the first ``n_words`` words, without a comma or the like at the end."""
    words = text.split()
    return text if len(words) <= n_words else " ".join(words[:n_words]).rstrip(",;:-\u2013\u2014")


def _plain_line(line: str) -> str:
    """Strip bullets, headings and emphasis off one line."""
    line = _BULLET.sub("", line.strip())
    for pattern in _EMPHASIS:
        line = pattern.sub(r"\2", line)
    return line.strip()


def _from_json(text: str) -> str:
    """Return the first text in a JSON object or list, else the text itself."""
    if not text.startswith(("{", "[", '"')):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    while isinstance(value, dict | list):
        inner = list(value.values()) if isinstance(value, dict) else value
        value = next((v for v in inner if isinstance(v, str | dict | list) and v), "")
    return str(value)


def _unquoted(text: str) -> str:
    """Take off quotes that enclose the whole text, and only those."""
    if len(text) > 1 and _QUOTES.get(text[0]) == text[-1] and text[0] not in text[1:-1] and text[-1] not in text[1:-1]:
        return text[1:-1].strip()
    if text[:1] in ('"', "\u201c") and not set(text[1:]) & {'"', "\u201d"}:  # an answer that was cut off
        return text[1:].strip()
    return text
