//! The number of threads that a loader decodes pictures with. It changes no bit of a run.
//!
//! A loader makes 1,500 to 3,300 crops of 224×224 per second and core (docs/speed.md). The full
//! network trains 33 to 67 images per second on two cores of a CPU, and a GPU may take several
//! thousand.

/// Most threads that feed one GPU: 6,000 images per second or more.
const PER_GPU: usize = 4;
/// Most threads of a loader that was started by hand.
const MOST_BY_HAND: usize = 8;

/// Number of this machine's cores.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Threads for each of the `loaders` that feed these devices on a machine of `cores`.
///
/// CPU workers compute on all cores, and one thread feeds the fastest of them, so more would only
/// take cores from them. A GPU's worker needs two cores, and the loaders get four of the rest per
/// GPU.
pub(crate) fn per_loader(devices: &[String], loaders: usize, cores: usize) -> usize {
    let on_gpu = |device: &&String| device.starts_with("cuda");
    if !devices.iter().all(|device| on_gpu(&device)) {
        return 1;
    }
    let mut gpus: Vec<&String> = devices.iter().collect();
    gpus.sort();
    gpus.dedup();
    let free = cores.saturating_sub(2 * devices.len());
    let share = (PER_GPU * gpus.len()).min(free) / loaders.max(1);
    share.max(1)
}

/// Threads of a loader that knows no devices, on a machine of `cores`.
///
/// Workers may compute on the same machine; a quarter of it leaves them theirs. An idle thread
/// takes nothing: a loader never works further ahead than one minibatch.
pub(crate) fn by_hand(cores: usize) -> usize {
    (cores / 4).clamp(1, MOST_BY_HAND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn per(devices: &[&str], loaders: usize, cores: usize) -> usize {
        let devices: Vec<String> = devices.iter().map(ToString::to_string).collect();
        per_loader(&devices, loaders, cores)
    }

    #[test]
    fn cpu_workers_keep_their_cores() {
        for cores in [1, 2, 16, 64] {
            assert_eq!(per(&["cpu:32", "cpu:32"], 1, cores), 1);
            assert_eq!(per(&["cuda:0", "cpu:8"], 1, cores), 1);
            assert_eq!(per(&["cpu"], 3, cores), 1);
        }
    }

    #[test]
    fn each_gpu_gets_four_threads_as_far_as_there_are_cores() {
        assert_eq!(per(&["cuda:0", "cuda:1"], 1, 64), 8);
        assert_eq!(per(&["cuda:0", "cuda:1"], 2, 64), 4);
        assert_eq!(per(&["cuda:0", "cuda:0"], 1, 16), 4);
        assert_eq!(per(&["cuda:GPU-1a"], 1, 16), 4);
        assert_eq!(per(&["cuda:0", "cuda:1"], 1, 8), 4);
        assert_eq!(per(&["cuda:0", "cuda:1"], 1, 2), 1);
        assert_eq!(per(&["cuda:0", "cuda:1"], 64, 64), 1);
    }

    #[test]
    fn a_loader_by_itself_takes_a_quarter_of_the_machine() {
        assert_eq!([1, 2, 4, 16, 64].map(by_hand), [1, 1, 1, 4, 8]);
    }
}
