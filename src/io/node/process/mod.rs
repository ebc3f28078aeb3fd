//! This process on its machine: clocks, rights, signals, its log and its service manager.

pub mod boot;
pub mod clock;
pub mod logging;
pub mod rights;
pub mod service;
pub mod signals;
