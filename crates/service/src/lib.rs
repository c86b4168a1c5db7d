//! What is done when, and what came of it.
//!
//! | module | what it holds |
//! |---|---|
//! | [`schedule`] | when something is due: calendar rules, pure |
//! | [`mod@agenda`] | configuration, history and the time → what is due, in order, with reasons: pure |
//! | [`records`] | when each task last succeeded and failed, kept on this host |
//! | [`report`] | everything that happened in one run: the source of tables, documents, hooks |
//! | [`measures`] | what is measured of runs, kept on this host |
//! | [`metrics`] | measures as Prometheus reads them |
//! | [`notify`] | whoever is to know of a run is told: webhook, dead man's switch, mail |
//! | [`log`] | events in a file that may be moved away at any time |
//!
//! Nothing here touches the terminal, the environment or a clock.

pub mod agenda;
mod files;
pub mod log;
pub mod measures;
pub mod metrics;
pub mod notify;
pub mod records;
pub mod report;
pub mod schedule;

pub use agenda::{Item, Standing, Task, agenda};
pub use records::{History, Records};
pub use report::{Failure, RunReport, TaskReport};
pub use schedule::{Due, Last, Schedule};
