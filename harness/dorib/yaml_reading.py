"""YAML within bounds: JSON's types, of limited depth and size, aliases counted in full."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

DEEPEST = 50
"""Levels of nesting."""
MOST_VALUES = 20_000
"""Keys included; an alias counts as all that it stands for."""
LONGEST_NUMBER = 64
"""Characters."""

_TAG = "tag:yaml.org,2002:"
_NUMBERS = ("bool", "int", "float")
_KINDS: dict[type[Node], tuple[str, ...]] = {
    ScalarNode: ("null", "str", "merge", *_NUMBERS),
    SequenceNode: ("seq",),
    MappingNode: ("map",),
}


class BoundedLoader(yaml.SafeLoader):
    """Refuses bombs, tags beyond JSON's types and keys that stand twice; dates stay texts."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML has it
        first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_TAG}timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._values = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        """The next node, counted and of a known kind."""
        if self.check_event(yaml.AliasEvent):
            node = super().compose_node(parent, index)
            # One that has no size yet is being defined: it would contain itself.
            self._count(self._sizes.get(id(node), MOST_VALUES + 1))
            return node
        self._depth += 1
        if self._depth > DEEPEST:
            raise ComposerError(None, None, f"nested more than {DEEPEST} levels deep", None)
        before = self._values
        self._count(1)
        node = super().compose_node(parent, index)
        if node is not None and node.tag.removeprefix(_TAG) not in _KINDS[type(node)]:
            raise ComposerError(None, None, f"the tag {node.tag!r} fits nothing here", None)
        self._sizes[id(node)] = self._values - before
        self._depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        """A mapping; what is merged into it may repeat its keys, but it may not itself."""
        node: MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                raise ComposerError(None, None, "a key that is no text", key.start_mark)
            if (key.tag, key.value) in seen:
                raise ComposerError(None, None, f"{key.value!r} stands twice", key.start_mark)
            seen.add((key.tag, key.value))
        return node

    def _count(self, values: int) -> None:
        self._values += values
        if self._values > MOST_VALUES:
            raise ComposerError(
                None, None, f"aliases that unfold to more than {MOST_VALUES:,} values", None
            )


def _number(build: Callable[[BoundedLoader, ScalarNode], Any]) -> Callable[..., Any]:
    def checked(loader: BoundedLoader, node: ScalarNode) -> Any:
        if len(node.value) > LONGEST_NUMBER:
            problem = f"a number of {len(node.value):,} characters"
            raise ConstructorError(None, None, problem, node.start_mark)
        try:
            return build(loader, node)
        except (ValueError, LookupError, OverflowError) as error:
            problem = f"{node.value!r} is not what its tag says"
            raise ConstructorError(None, None, problem, node.start_mark) from error

    return checked


for _kind in _NUMBERS:
    BoundedLoader.add_constructor(
        f"{_TAG}{_kind}", _number(getattr(yaml.SafeLoader, f"construct_yaml_{_kind}"))
    )
