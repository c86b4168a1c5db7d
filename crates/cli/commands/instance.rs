//! `icecore instance`: the live side.

pub mod discover;
pub mod list;
pub mod status;
pub mod test_freeze;
pub mod thaw;

use std::time::Duration;

/// How long a freezer may take to answer a question.
const ANSWER: Duration = Duration::from_secs(60);
