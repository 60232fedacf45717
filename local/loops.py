"""Expands a template's loops as AWS::LanguageExtensions does, for tools that read the template without CloudFormation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def unrolled(template: Mapping[str, Any]) -> dict[str, Any]:
    """The template with each `Fn::ForEach` replaced by its expansion.

    As in AWS, a loop's variable is replaced in keys, in `Fn::Sub`, and in `Ref`, but in no other text.
    """
    return {name: _unrolled(section, {}) for name, section in template.items()}


def _unrolled(node: Any, names: Mapping[str, str]) -> Any:
    match node:
        case {"Ref": str(name)}:
            return names.get(name, node)
        case {"Ref": name}:
            return {"Ref": _unrolled(name, names)}
        case {"Fn::Sub": str(text)}:
            text = _filled(text, names)
            return {"Fn::Sub": text} if "${" in text else text
        case dict():
            made: dict[str, Any] = {}
            for key, value in node.items():
                if key.startswith("Fn::ForEach::"):
                    made |= _repeated(value, names)
                else:
                    made[_filled(key, names)] = _unrolled(value, names)
            return made
        case list():
            return [_unrolled(each, names) for each in node]
        case _:
            return node


def _repeated(loop: Any, names: Mapping[str, str]) -> dict[str, Any]:
    name, items, fragment = loop
    made: dict[str, Any] = {}
    for item in items:
        made |= _unrolled(fragment, {**names, name: item})
    return made


def _filled(text: str, names: Mapping[str, str]) -> str:
    for name, item in names.items():
        text = text.replace(f"${{{name}}}", item)
    return text
