//! The freezer of instances that nothing can freeze.

use std::time::Duration;

use super::{FreezeError, Freezer, Status};

/// Freezes nothing, and always succeeds.
#[derive(Debug)]
pub(super) struct Nothing;

impl Freezer for Nothing {
    fn check(&mut self) -> Result<(), FreezeError> {
        Ok(())
    }

    fn freeze(&mut self, _: Duration) -> Result<(), FreezeError> {
        Ok(())
    }

    fn thaw(&mut self, _: Duration) -> Result<(), FreezeError> {
        Ok(())
    }

    fn status(&mut self, _: Duration) -> Result<Status, FreezeError> {
        Ok(Status::Running)
    }

    fn last_resort(&mut self, _: Duration) -> Option<Result<(), FreezeError>> {
        None
    }

    fn describe(&self) -> String {
        "no freezer".to_owned()
    }
}
