from __future__ import annotations

from hub.settings.composer import compose
from hub.settings.nodes import (
    MapNode,
    Node,
    Path,
    ScalarNode,
    any_faulty,
    construct,
    merge,
    nested,
    rewrite,
    walk,
)
from hub.settings.problem import Place


def tree(text: str, source: str = "f") -> Node:
    root = compose(text, source).root
    assert root is not None
    return root


def test_walk_ends_at_the_key_it_was_asked_for() -> None:
    found = walk(tree("a:\n  b: 1\n"), ("a", "b"))
    assert (found.place, found.path, found.complete) == (Place("f", 2, 3), ("a", "b"), True)
    assert found.node.place == Place("f", 2, 6)


def test_walk_skips_parts_that_do_not_exist() -> None:
    found = walk(tree("a:\n- b: 1\n"), ("a", 0, "tag-of-a-union", "b", "int"))
    assert (found.path, found.complete) == (("a", 0, "b"), False)


def test_walk_into_a_list_takes_only_its_indices() -> None:
    root = tree("a: [1, 2]")
    assert walk(root, ("a", 1)).place == Place("f", 1, 8)
    assert walk(root, ("a", 2)).path == ("a",)
    assert walk(root, ("a", -1)).path == ("a",)
    assert walk(root, ("a", "1")).path == ("a",)


def test_constructed_data_belongs_to_the_caller() -> None:
    root = tree("a: {b: [1]}")
    construct(root)["a"]["b"].append(2)
    assert construct(root) == {"a": {"b": [1]}}


def test_merge_joins_maps_and_replaces_the_rest() -> None:
    merged = merge(tree("a: {b: 1, c: [1, 2], d: {e: 1}}"), tree("a: {b: 2, c: [3], d: 4, f: 5}", "top"))
    assert construct(merged) == {"a": {"b": 2, "c": [3], "d": 4, "f": 5}}


def test_merged_maps_keep_their_place_and_new_values_bring_theirs() -> None:
    merged = merge(tree("a: {b: 1}"), tree("\na: {b: 2, c: 3}", "top"))
    assert walk(merged, ("a",)).place == Place("f", 1, 1)
    assert walk(merged, ("a", "b")).place == Place("top", 2, 5)
    assert walk(merged, ("a", "c")).place == Place("top", 2, 11)


def test_nested_wraps_a_node_in_maps_at_its_place() -> None:
    leaf = ScalarNode(Place("x"), "1", 1, "1", plain=True)
    wrapped = nested(("a", "b"), leaf)
    assert construct(wrapped) == {"a": {"b": 1}}
    assert walk(wrapped, ("a",)).place == Place("x")


def test_rewrite_changes_values_and_leaves_keys() -> None:
    seen: list[Path] = []

    def shout(node: ScalarNode, path: Path) -> ScalarNode:
        seen.append(path)
        return ScalarNode(node.place, "!", "!", "!", plain=True)

    assert construct(rewrite(tree("a: [x, {b: y}]\nc: z"), shout)) == {"a": ["!", {"b": "!"}], "c": "!"}
    assert seen == [("a", 0), ("a", 1, "b"), ("c",)]


def test_any_faulty_finds_a_fault_at_any_depth() -> None:
    assert any_faulty(tree("a: [{b: no}]"))
    assert not any_faulty(tree("a: [{b: 1}]"))
    assert not any_faulty(MapNode(Place("f")))
