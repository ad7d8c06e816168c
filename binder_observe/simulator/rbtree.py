"""The kernel's red-black tree (lib/rbtree.c), shape for shape.

`binder_alloc_new_buf()` walks the real tree for a best fit, and among free buffers of equal size it takes whichever
the walk meets first. Which one that is depends on the shape of the tree, so on every rotation since the mapping was
made: a sorted list would answer other addresses than a kernel does. The case numbers in the comments are those of
lib/rbtree.c.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

LEFT: Final = 0
RIGHT: Final = 1


class RbNode:
    """A node, embedded by inheritance as the kernel embeds `struct rb_node`; `child` is [left, right]."""

    __slots__ = ("child", "parent", "red")

    child: list[Any]  # of the subclass: a tree holds one kind of node
    parent: Any
    red: bool

    def __init__(self) -> None:
        self.child = [None, None]
        self.parent = None
        self.red = False


class RbRoot:
    __slots__ = ("rb_node",)

    def __init__(self) -> None:
        self.rb_node: Any = None


def _change_child(old: RbNode, new: RbNode | None, parent: RbNode | None, root: RbRoot) -> None:
    if parent is None:
        root.rb_node = new
    elif parent.child[LEFT] is old:
        parent.child[LEFT] = new
    else:
        parent.child[RIGHT] = new


def _rotate_set_parents(old: RbNode, new: RbNode, root: RbRoot, red: bool) -> None:
    parent = old.parent
    new.parent = parent
    new.red = old.red
    old.parent = new
    old.red = red
    _change_child(old, new, parent, root)


def rb_link_node(node: RbNode, parent: RbNode | None, side: int, root: RbRoot) -> None:
    """Hangs `node` as a red leaf below `parent`; `rb_insert_color()` must follow."""
    child = node.child
    child[LEFT] = child[RIGHT] = None
    node.parent = parent
    node.red = True
    if parent is None:
        root.rb_node = node
    else:
        parent.child[side] = node


def rb_insert_color(node: RbNode, root: RbRoot) -> None:
    parent = node.parent
    while True:
        if parent is None:
            node.red = False  # the root is black
            return
        if not parent.red:
            return
        gparent = parent.parent
        assert gparent is not None  # a red node is never the root
        side = LEFT if gparent.child[LEFT] is parent else RIGHT
        other = 1 - side
        uncle = gparent.child[other]
        if uncle is not None and uncle.red:  # case 1: flip colours, go on above
            uncle.red = False
            parent.red = False
            node = gparent
            parent = node.parent
            node.red = True
            continue
        if parent.child[other] is node:  # case 2: rotate at parent, so that case 3 fits
            inner = node.child[side]
            parent.child[other] = inner
            node.child[side] = parent
            if inner is not None:
                inner.parent = parent
                inner.red = False
            parent.parent = node
            parent.red = True
            parent = node
        inner = parent.child[other]  # case 3: rotate at gparent
        gparent.child[side] = inner
        parent.child[other] = gparent
        if inner is not None:
            inner.parent = gparent
            inner.red = False
        _rotate_set_parents(gparent, parent, root, True)
        return


def rb_erase(node: RbNode, root: RbRoot) -> None:
    left, right = node.child
    rebalance: RbNode | None = None
    if left is None:
        parent = node.parent
        _change_child(node, right, parent, root)
        if right is not None:
            right.parent = parent
            right.red = node.red
        elif not node.red:
            rebalance = parent
    elif right is None:
        left.parent = node.parent
        left.red = node.red
        _change_child(node, left, node.parent, root)
    else:
        successor = right
        below = successor.child[LEFT]
        if below is None:  # the successor is the right child
            parent = successor
            orphan = successor.child[RIGHT]
        else:  # the successor is the leftmost of the right subtree
            while below is not None:
                parent = successor
                successor = below
                below = below.child[LEFT]
            orphan = successor.child[RIGHT]
            parent.child[LEFT] = orphan
            successor.child[RIGHT] = right
            right.parent = successor
        successor.child[LEFT] = left
        left.parent = successor
        _change_child(node, successor, node.parent, root)
        if orphan is not None:
            orphan.parent = parent
            orphan.red = False
        elif not successor.red:
            rebalance = parent
        successor.parent = node.parent
        successor.red = node.red
    if rebalance is not None:
        _erase_color(rebalance, root)


def _erase_color(parent: RbNode, root: RbRoot) -> None:
    """Restores the black heights after a black node went from below `parent`."""
    node: RbNode | None = None
    while True:
        # With one child gone both may be None only if `parent` has none at all, which a black loss excludes.
        side = LEFT if parent.child[RIGHT] is not node else RIGHT
        other = 1 - side
        sibling = parent.child[other]
        assert sibling is not None
        if sibling.red:  # case 1: rotate at parent, to a black sibling
            inner = sibling.child[side]
            assert inner is not None
            parent.child[other] = inner
            sibling.child[side] = parent
            inner.parent = parent
            inner.red = False
            _rotate_set_parents(parent, sibling, root, True)
            sibling = inner
        outer = sibling.child[other]
        if outer is None or not outer.red:
            inner = sibling.child[side]
            if inner is None or not inner.red:  # case 2: flip the sibling, go on above
                sibling.red = True
                if parent.red:
                    parent.red = False
                    return
                node = parent
                if node.parent is None:
                    return
                parent = node.parent
                continue
            # case 3: rotate at the sibling, so that case 4 fits
            moved = inner.child[other]
            sibling.child[side] = moved
            inner.child[other] = sibling
            parent.child[other] = inner
            if moved is not None:
                moved.parent = sibling
                moved.red = False
            outer = sibling
            sibling = inner
        inner = sibling.child[side]  # case 4: rotate at parent and flip colours
        parent.child[other] = inner
        sibling.child[side] = parent
        outer.parent = sibling
        outer.red = False
        if inner is not None:
            inner.parent = parent
        _rotate_set_parents(parent, sibling, root, False)
        return


def rb_nodes(root: RbRoot) -> Iterator[Any]:
    """Every node in order (rb_first, then rb_next)."""
    stack: list[Any] = []
    node = root.rb_node
    while stack or node is not None:
        while node is not None:
            stack.append(node)
            node = node.child[LEFT]
        node = stack.pop()
        yield node
        node = node.child[RIGHT]
