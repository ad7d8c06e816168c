"""The tree has the shape that lib/rbtree.c gives it."""

from __future__ import annotations

import hashlib
from random import Random

import pytest

from binder_observe.simulator.rbtree import (
    LEFT,
    RIGHT,
    RbNode,
    RbRoot,
    rb_erase,
    rb_insert_color,
    rb_link_node,
    rb_nodes,
)


class Node(RbNode):
    __slots__ = ("key", "number")

    def __init__(self, number: int, key: int) -> None:
        super().__init__()
        self.number = number
        self.key = key


def insert(node: Node, root: RbRoot) -> None:
    parent = None
    side = LEFT
    at = root.rb_node
    while at is not None:
        parent = at
        side = LEFT if node.key < at.key else RIGHT
        at = at.child[side]
    rb_link_node(node, parent, side, root)
    rb_insert_color(node, root)


def preorder(node: Node | None) -> list[int]:
    """The shape: number and colour of each node, -1 for a missing child."""
    if node is None:
        return [-1]
    return [2 * node.number + (not node.red), *preorder(node.child[LEFT]), *preorder(node.child[RIGHT])]


def black_height(node: Node | None) -> int:
    if node is None:
        return 1
    left, right = node.child
    assert not (node.red and any(child is not None and child.red for child in node.child))
    assert all(child is None or child.parent is node for child in node.child)
    height = black_height(left)
    assert height == black_height(right)
    return height + (not node.red)


def steps(seed: int, count: int) -> list[list[int]]:
    """Shapes of a tree under random inserts (few distinct keys, so many equal ones) and erasures."""
    random = Random(seed)
    root = RbRoot()
    live: list[Node] = []
    shapes = []
    for number in range(count):
        if live and random.random() < 0.45:
            rb_erase(live.pop(int(random.random() * len(live))), root)
        else:
            node = Node(number, int(random.random() * 20))
            live.append(node)
            insert(node, root)
        shapes.append(preorder(root.rb_node))
        if root.rb_node is not None:
            assert not root.rb_node.red
            assert root.rb_node.parent is None
        black_height(root.rb_node)
        keys = [node.key for node in rb_nodes(root)]
        assert keys == sorted(keys)
        assert len(keys) == len(live)
    return shapes


@pytest.mark.parametrize("seed", range(10))
def test_stays_a_red_black_tree(seed: int) -> None:
    steps(seed, 400)


def test_shapes_are_those_of_the_kernel() -> None:
    """The digest was taken from lib/rbtree.c of Linux 6.12.117, compiled beside a harness that took the same steps."""
    shapes = [steps(seed, 600) for seed in range(20)]
    digest = hashlib.sha256(repr(shapes).encode()).hexdigest()
    assert digest == "35eb6645668e9179e7e7b74720236e39a80081da85ac14de92010580114a567f"
