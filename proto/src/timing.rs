//! Timing, as far as all processes must agree on it: which steps are timed, and each one's clock.

use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::time::Instant;

/// Default number of steps between two timed ones.
pub const EVERY: u64 = 50;

/// Steps that are timed in every run, so that a short one has some; the very first step is left
/// out, because it is slow for reasons of its own.
const FIRST: RangeInclusive<u64> = 2..=4;

/// Whether the step that will be number `step` once it is done is timed; `every` 0 means none.
pub fn is_timed(step: u64, every: u64) -> bool {
    every > 0 && (FIRST.contains(&step) || step.is_multiple_of(every))
}

/// A moment on this process's clock, in nanoseconds; negative before the clock's first use.
pub fn clock_ns(at: Instant) -> i64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = *START.get_or_init(Instant::now);
    match at.checked_duration_since(start) {
        Some(after) => after.as_nanos() as i64,
        None => -((start - at).as_nanos() as i64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_to_fourth_step_and_every_so_many_are_timed() {
        let timed = |every| (1..=12).filter(|step| is_timed(*step, every)).collect::<Vec<_>>();
        assert_eq!(timed(5), [2, 3, 4, 5, 10]);
        assert_eq!(timed(1), (1..=12).collect::<Vec<_>>());
        assert!(timed(0).is_empty());
    }

    #[test]
    fn the_clock_keeps_the_distance_between_moments() {
        let now = Instant::now();
        let earlier = now - std::time::Duration::from_micros(1500);
        assert_eq!(clock_ns(now) - clock_ns(earlier), 1_500_000);
    }
}
