//! Whole nodes in one thread: real core, real index, real work on files, on machines that are not
//! real.
//!
//! Everything that happens follows from a seed. `plan` draws what will happen, `world` has it
//! happen, `oracle` says what must hold then, `saved` keeps plans in files.

mod branches;
mod crash;
mod disk;
mod events;
mod files;
mod losses;
mod machine;
mod network;
mod obstacles;
mod oracle;
pub mod plan;
mod random;
mod rules;
pub mod saved;
mod storage;
mod trace;
mod user;
mod world;

use std::{
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Once,
};

use self::{plan::Plan, trace::Trace, world::World};

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Of all that happened: the same for the same plan.
    pub hash: u64,
    /// What must not happen, and did.
    pub failure: Option<String>,
    /// Turns of all nodes together.
    pub turns: u64,
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// Carries out a plan; prints what happens when asked to.
pub fn run(plan: &Plan, prints: bool) -> Outcome {
    SEED.set(plan.seed);
    let mut world = World::new(plan, Trace::new(prints));
    let failure = failure_of(|| world.run());
    Outcome { hash: world.trace.hash(), failure, turns: world.turns }
}

/// Has every node of a group killed so many times, with a save each time. What must not happen, and
/// did.
pub fn run_years(ends: u32) -> Option<String> {
    let mut world = World::of_years();
    failure_of(|| world.pass_years(ends))
}

fn failure_of(run: impl FnOnce() -> Result<(), String>) -> Option<String> {
    catch_messages();
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(checked) => checked.err(),
        Err(_) => Some(PANIC.take().unwrap_or_else(|| "it panicked".to_owned())),
    }
}

/// A panic is a failure of its seed, and said with it.
fn catch_messages() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            if cfg!(panic = "abort") {
                eprintln!("seed {}: {info}", SEED.get());
            }
            PANIC.set(Some(info.to_string()));
        }));
    });
}
