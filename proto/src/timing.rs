//! What timing needs all processes to agree on: which steps are timed, and a clock each.

use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::time::Instant;

/// Steps between two timed ones, unless told otherwise.
pub const EVERY: u64 = 50;

/// Timed too, so that a short run has some; the first step of all is slow in its own ways.
const FIRST: RangeInclusive<u64> = 2..=4;

/// Whether the step that has this number once it is done is timed; `every` 0: none is.
pub fn is_timed(step: u64, every: u64) -> bool {
    every > 0 && (FIRST.contains(&step) || step.is_multiple_of(every))
}

/// A moment on this process's clock, in nanoseconds; before its first use: negative.
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
