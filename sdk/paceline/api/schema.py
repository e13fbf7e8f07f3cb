"""The models as a structural schema of apiextensions v1: plain, bounded, with defaults and rules.

Pydantic's JSON schema speaks in references and unions; a structural schema has neither. An optional field is simply
not required, and a default that is empty is no default: what is absent and what is empty mean the same.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from paceline.api.base import INT32_MAX, INT_OR_STRING, PRESERVE_UNKNOWN, TYPE_RULE
from paceline.api.cel import Rule
from paceline.api.rules import RULES, TYPE_RULES
from paceline.api.spec import TrainJobSpec
from paceline.api.status import TrainJobStatus

Schema = dict[str, Any]

# In the order in which they read best; what is not here does not get into the CRD.
_KEPT = (
    "description",
    "type",
    "format",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "maxProperties",
    INT_OR_STRING,
    PRESERVE_UNKNOWN,
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "default",
)


def trainjob_schema() -> Schema:
    """Return the schema of the whole object."""
    schema: Schema = {
        "description": "A training run: workers in pods, started again as a whole after a failure, from the latest "
        "checkpoint.",
        "type": "object",
        "required": ["metadata", "spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": _structural(TrainJobSpec, "spec"),
            # Until the operator has something to say, Pending is true: `kubectl get` shows it without any write.
            "status": _structural(TrainJobStatus, "status") | {"default": {"phase": "Pending"}},
        },
    }
    return _with_rules(schema, RULES[""])


def _structural(model: type[BaseModel], path: str) -> Schema:
    raw = model.model_json_schema(by_alias=True, mode="serialization")
    return _node(raw, raw.get("$defs", {}), path)


def _node(raw: Schema, definitions: Schema, path: str) -> Schema:
    raw = _resolved(raw, definitions)
    schema = {key: raw[key] for key in _KEPT if key in raw}
    if "description" in schema:
        schema["description"] = " ".join(schema["description"].split())
    if schema.get("default") in (None, "", [], {}) or path.startswith("status"):
        schema.pop("default", None)
    match raw.get("type"):
        case "object":
            _object(schema, raw, definitions, path)
        case "array":
            schema["items"] = _node(raw["items"], definitions, f"{path}[]")
        case "integer":
            schema["format"] = "int32" if raw.get("maximum", INT32_MAX + 1) <= INT32_MAX else "int64"
        case "number":
            schema["format"] = "double"
    if INT_OR_STRING in schema:
        schema.pop("type")
        if TYPE_RULE in raw:
            # The rule of the type takes the place of the pattern: its sentence says what to write.
            schema.pop("pattern")
    return _with_rules(schema, TYPE_RULES.get(raw.get(TYPE_RULE, ""), ()) + RULES.get(path, ()))


def _resolved(raw: Schema, definitions: Schema) -> Schema:
    """Follow references and take the one branch of `X | None`; what stands beside them wins (descriptions)."""
    beside = {key: value for key, value in raw.items() if key not in ("$ref", "anyOf", "allOf")}
    if "$ref" in raw:
        target = definitions[raw["$ref"].removeprefix("#/$defs/")]
        return _resolved({**target, **beside}, definitions)
    if "anyOf" in raw:
        branches = [branch for branch in raw["anyOf"] if branch.get("type") != "null"]
        if len(branches) != 1:
            raise ValueError(f"a structural schema has no unions: {raw}")
        return _resolved({**branches[0], **beside}, definitions)
    return raw


def _object(schema: Schema, raw: Schema, definitions: Schema, path: str) -> None:
    if "maxLength" in raw:
        # Pydantic writes the bound of a dict so where a validator stands before it.
        schema["maxProperties"] = schema.pop("maxLength")
    properties = {
        name: _node(child, definitions, f"{path}.{name}") for name, child in raw.get("properties", {}).items()
    }
    computed = {name for name, child in raw.get("properties", {}).items() if child.get("readOnly")}
    required = [name for name in raw.get("required", []) if name not in computed]
    if required:
        schema["required"] = required
    if properties:
        schema["properties"] = properties
    elif PRESERVE_UNKNOWN not in schema:
        schema["additionalProperties"] = _node(raw["additionalProperties"], definitions, f"{path}{{}}")
    if path.startswith("status"):
        return
    for name, child in properties.items():
        # A model that stands there by default (`X | None = None` has the default null and does not): the API server
        # looks for defaults inside an object only when the object is there.
        if name not in required and "default" not in raw["properties"][name] and (defaults := _defaults(child)):
            child["default"] = defaults


def _defaults(schema: Schema) -> Schema:
    """The defaults of an object's fields. All of them: rules see a default as it stands, not filled in."""
    fields = schema.get("properties", {})
    return {name: field["default"] for name, field in fields.items() if "default" in field}


def _with_rules(schema: Schema, rules: tuple[Rule, ...]) -> Schema:
    return {**schema, "x-kubernetes-validations": [rule.to_schema() for rule in rules]} if rules else schema
