//! The ground that everything stands on: paths, content, versions, rows, limits. Depends on nothing
//! else of the program.

pub mod calendar;
pub mod content;
pub mod entry;
pub mod limits;
pub mod path;
pub mod stamp;
pub mod version;
