//! Clocks that are set back do not make the past win.

use super::world::*;
use crate::model::stamp::COARSE_NS;

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

/// FAT keeps times as the local clock showed them. When that is set to summer time, or the disk
/// gets into another zone, all are off by as much, under other inode numbers.
#[test]
fn times_that_another_zone_has_moved_are_no_edit() {
    let mut world = linked(2);
    world.nodes[1].engine.config.has_coarse_times = true;
    for name in ["stays", "goes"] {
        world.write(1, name, name.as_bytes());
        world.nodes[1].disk.set(&path(name), 0o644, Some(COARSE_NS * 800_000_000));
        world.tell(1, path(name));
    }
    world.settle();
    world.cut(0, 1);
    world.delete(0, "goes");
    for (inode, name) in [(1001, "stays"), (1002, "goes")] {
        let stamp = &mut world.nodes[1].disk.tree.get_mut(&path(name)).unwrap().stamp;
        (stamp.inode, stamp.ctime_ns) = (inode, stamp.ctime_ns + 3_600_000_000_000);
        stamp.mtime_ns += 3_600_000_000_000;
        world.tell(1, path(name));
    }
    world.settle();
    world.link(0, 1);
    world.settle();
    assert_eq!([names(&world.nodes[0]), names(&world.nodes[1])], [["stays"], ["stays"]]);
    let mtime_ns = world.nodes[0].disk.tree[&path("stays")].stamp.mtime_ns;
    assert_eq!(mtime_ns, COARSE_NS * 800_000_000, "nobody has set another time");
}
