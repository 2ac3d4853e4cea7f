"""The form of a training, made from the fields, ranges and descriptions of its config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from training.config import PLANS, Plan, TrainingConfig

# Asked for in their own way: the data set decides the subjects, the preset the plan, the name the folder.
OWN = ("dataset", "subjects", "method", "method_overrides", "plan_overrides", "stages", "out", "device")
_LIMITS = {"minimum": "min", "maximum": "max", "exclusiveMinimum": "above", "exclusiveMaximum": "below"}


def plan_fields() -> list[dict[str, Any]]:
    """Return the fields of how decoders are trained."""
    return form_fields(Plan.model_json_schema())


def network_fields(method: str) -> dict[str, Any]:
    """Return the fields of the networks of a preset and its values; this loads torch, so it is asked for late."""
    from pipeline.methods.semvideo import preset

    found = preset(method)
    return {"fields": form_fields(type(found).model_json_schema()), "values": found.model_dump(mode="json")}


def own_fields() -> list[dict[str, Any]]:
    """Return the fields of the training itself that have no place of their own on the page."""
    return [field for field in form_fields(TrainingConfig.model_json_schema()) if field["path"][0] not in OWN]


def descriptions() -> dict[str, str]:
    """Return what the config says of the fields that have a place of their own."""
    fields = TrainingConfig.model_json_schema()["properties"]
    return {name: str(fields[name].get("description", "")) for name in OWN}


def plans() -> dict[str, Any]:
    """Return each preset's plan as plain values."""
    return {name: found.model_dump(mode="json") for name, found in PLANS.items()}


def form_fields(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Flatten a JSON schema of nested configs into one record per field.

    Parameters
    ----------
    schema : mapping
        Of pydantic's ``model_json_schema()``.

    Returns
    -------
    list of dict
        ``path`` (names from the outside in), ``description``, ``type`` (``integer``, ``number``, ``string``,
        ``boolean``, ``choice`` or ``group``), ``optional`` (None is allowed), ``default``, and where they are known
        ``choices``, ``min``, ``max``, ``above``, ``below``. A group that is optional can be switched off whole.
    """
    return _fields(schema, schema.get("$defs", {}), ())


def _fields(schema: Mapping[str, Any], known: Mapping[str, Any], path: tuple[str, ...]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name, own in schema.get("properties", {}).items():
        options = [_resolve(option, known) for option in own.get("anyOf", [own])]
        values = [option for option in options if option.get("type") != "null"]
        optional = len(values) < len(options)
        if len(values) != 1:
            continue
        entry = {"path": [*path, name], "description": own.get("description", ""), "optional": optional}
        entry["default"] = own.get("default")
        value = values[0]
        if "properties" in value:
            found.append({**entry, "type": "group", "about": value.get("description", "")})
            found += _fields(value, known, (*path, name))
        elif "enum" in value:
            found.append({**entry, "type": "choice", "choices": value["enum"]})
        elif value.get("type") in ("integer", "number", "string", "boolean"):
            limits = {short: value[long] for long, short in _LIMITS.items() if long in value}
            found.append({**entry, "type": value["type"], **limits})
    return found


def _resolve(option: Mapping[str, Any], known: Mapping[str, Any]) -> Mapping[str, Any]:
    name = str(option.get("$ref", "")).rpartition("/")[2]
    return known[name] if name else option
