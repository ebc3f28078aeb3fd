//! Clocks that are set back do not make the past win.

use super::world::*;

/// The second save knows of the first one, and the clock was set back between them. Another node
/// has saved on its own, at a time in between.
#[test]
fn a_save_after_the_clock_was_set_back_is_not_older_than_what_it_replaces() {
    let mut world = linked(3);
    (0..2).for_each(|at| world.cut(at, 2));
    let now_ms = world.time.wall_ms;
    world.time.wall_ms = now_ms + 600_000;
    world.write(0, "a", b"first");
    world.settle();
    world.time.wall_ms = now_ms + 300_000;
    world.write(2, "a", b"elsewhere");
    world.settle();
    world.time.wall_ms = now_ms;
    world.write(1, "a", b"second");
    world.settle();
    (0..2).for_each(|at| world.link(at, 2));
    world.settle();
    world.assert_equal();
    assert_eq!(world.nodes[2].disk.tree[&path("a")].data, Data::File(b"second".to_vec()));
}
