//! Memory and disk that a run takes. The numbers are measured; docs/speed.md has the same,
//! which a test checks.

/// Memory of one half of the full network on the CPU, batch 128.
pub(super) const WORKER: u64 = 1_323_000_000;
/// Memory of a loader and the coordinator beside it.
pub(super) const OTHERS: u64 = 136_000_000 + 32_000_000;
/// Memory of a whole run on this machine's CPU.
pub(super) const RUN: u64 = 2 * WORKER + OTHERS;
/// Memory on a GPU of one half of the full network, batch 128.
pub(super) const HALF_ON_GPU: u64 = 1_340_000_000;
/// Weights and momentum of the full network, both halves.
pub(super) const CHECKPOINT: u64 = 488_000_000;
/// Checkpoints on disk at once: three kept (`--keep`), the best, and the one being written.
pub(super) const CHECKPOINTS: u64 = 3 + 1 + 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print::thousands;

    #[test]
    fn the_page_on_speed_has_the_same_numbers() {
        let page = include_str!("../../../../../docs/speed.md");
        let speed =
            format!("peak memory | worker {} MB, loader 136 MB", thousands(WORKER / 1_000_000));
        assert!(page.contains(&speed), "{speed}");
        let gpu = format!("{:.2} GB", HALF_ON_GPU as f64 / 1e9);
        assert!(page.contains(&gpu), "{gpu}");
        assert!(page.contains(&format!("{} MB", CHECKPOINT / 1_000_000)));
    }
}
