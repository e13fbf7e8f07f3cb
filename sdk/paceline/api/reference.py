"""The reference page of the TrainJob, from its schema."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from paceline.api import names
from paceline.api.base import INT_OR_STRING, PRESERVE_UNKNOWN

Schema = dict[str, Any]


def reference_page(schema: Schema) -> str:
    """Return the page as Markdown: a section for each object, a row for each field, and what is refused."""
    lines = [
        "<!-- Generated from paceline.api by `python -m paceline.api.crd --write`: change the models instead. -->",
        f"# {names.KIND}",
        "",
        f"`apiVersion: {names.API_VERSION}`, `kind: {names.KIND}`, `kubectl get {names.SHORT_NAME}`.",
        "",
        schema["description"],
        *_refused(schema),
        *_section("spec", schema["properties"]["spec"]),
        *_section("status", schema["properties"]["status"]),
    ]
    return "\n".join(lines) + "\n"


def _section(path: str, schema: Schema) -> Iterator[str]:
    yield from ("", f"## {path}", "")
    if description := schema.get("description"):
        yield from (description, "")
    yield from ("| field | type | default | meaning |", "|---|---|---|---|")
    required = schema.get("required", [])
    for name, field in schema["properties"].items():
        default = "required" if name in required else _default(field)
        yield f"| `{name}` | {_type(field)} | {default} | {_cell(field.get('description', ''))} |"
    yield from _refused(schema)
    for name, field in schema["properties"].items():
        yield from _below(f"{path}.{name}", field)


def _below(path: str, field: Schema) -> Iterator[str]:
    items = field.get("items", {})
    if items.get("properties"):
        yield from _section(f"{path}[]", items)
    elif field.get("properties") and PRESERVE_UNKNOWN not in field:
        yield from _section(path, field)
    rules = list(_refused(field)) if not field.get("properties") or PRESERVE_UNKNOWN in field else []
    if rules:
        yield from ("", f"### {path}", *rules)


def _refused(schema: Schema) -> Iterator[str]:
    # What is fixed at creation stands in the description, once.
    rules = [rule for rule in schema.get("x-kubernetes-validations", []) if "oldSelf" not in rule["rule"]]
    if rules:
        yield from ("", "Refused by the API server, with these words:", "")
    for rule in rules:
        field = rule.get("fieldPath", "")[1:]
        yield f"- {f'`{field}`: ' if field else ''}{_text(rule['message'])}"


def _type(field: Schema) -> str:
    if "enum" in field:
        return " \\| ".join(f"`{value}`" for value in field["enum"])
    if INT_OR_STRING in field:
        return "quantity"
    if field.get("format") == "date-time":
        return "time"
    if field["type"] == "array":
        return f"list of {_type(field['items'])}, at most {field['maxItems']}"
    if field["type"] == "object" and "additionalProperties" in field:
        return f"map, at most {field['maxProperties']}"
    if field["type"] == "integer" and "minimum" in field:
        top = field.get("maximum", 0)
        return f"integer, {field['minimum']} to {top}" if 0 < top < 2**31 - 1 else f"integer, from {field['minimum']}"
    return str(field["type"])


def _default(field: Schema) -> str:
    value = field.get("default")
    # The default of an object is made of those of its fields, which have rows of their own.
    if value is None or isinstance(value, dict):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")


def _text(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*")
