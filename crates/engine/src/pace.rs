//! So many bytes in a second, for several threads together.

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What was not used for so long may be used at once.
const BURST: Duration = Duration::from_millis(250);

/// How long somebody sleeps before looking whether it is over.
const LOOK: Duration = Duration::from_millis(50);

/// A rate that is kept to on average: a bucket that fills as fast as the rate says and holds `BURST`.
#[derive(Debug)]
pub struct Pace {
    rate: NonZero<u64>,
    /// When everything that was taken is paid for.
    paid: Mutex<Instant>,
}

impl Pace {
    /// At most `rate` bytes in a second.
    pub fn new(rate: NonZero<u64>) -> Self {
        Self { rate, paid: Mutex::new(Instant::now()) }
    }

    /// Takes bytes, and sleeps until they are paid for or `is_over` says that nobody minds any more. Gives how long that was.
    pub fn take(&self, bytes: u64, is_over: impl Fn() -> bool) -> Duration {
        let began = Instant::now();
        let paid = {
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            let start = began.checked_sub(BURST).map_or(began, |earliest| earliest.max(*paid));
            *paid = start + Duration::from_secs_f64(bytes as f64 / self.rate.get() as f64);
            *paid
        };
        while !is_over() {
            match paid.saturating_duration_since(Instant::now()) {
                Duration::ZERO => break,
                left => std::thread::sleep(left.min(LOOK)),
            }
        }
        began.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_paid_for_by_all_together() {
        let pace = Pace::new(NonZero::new(1_000_000).unwrap());
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10 {
                        pace.take(20_000, || false);
                    }
                });
            }
        });
        // 800,000 bytes, less what the bucket held.
        assert!(began.elapsed() >= Duration::from_millis(800) - BURST, "{:?}", began.elapsed());
    }

    #[test]
    fn who_is_over_waits_no_longer() {
        let pace = Pace::new(NonZero::new(1).unwrap());
        let began = Instant::now();
        pace.take(1 << 40, || true);
        assert!(began.elapsed() < Duration::from_secs(60));
    }
}
