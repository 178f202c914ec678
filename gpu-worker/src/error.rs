//! Why a worker could not go on.

/// Shorthand for this crate's results.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a step did not finish; the variant tells the coordinator what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing came from the other half in time: go back to the last manifest.
    #[error(
        "no {at} from the other half after {waited_ms} ms: it may be stopped, cut off or far too slow"
    )]
    PeerSilent {
        /// What was waited for.
        at: String,
        /// How long.
        waited_ms: u64,
    },
    /// The connection to the other half ended: go back to the last manifest.
    #[error("the other half is gone ({why})")]
    PeerLost {
        /// What the connection said.
        why: String,
    },
    /// The other half refused what it got, or sent what has no meaning: go back to the last manifest.
    /// What a fault on the way did doesn't come again; two ends that disagree soon use up
    /// the run's restarts.
    #[error("the exchange with the other half broke its rules: {why}")]
    PeerRefused {
        /// What was refused.
        why: String,
    },
    /// The other half sent something else than what is due: go back to the last manifest.
    #[error("the other half sent {got}, expected {want}: the two workers don't do the same step")]
    Mixed {
        /// What came.
        got: String,
        /// What was due.
        want: String,
    },
    /// The other half sent a slice of another size: go back to the last manifest.
    #[error("the other half sent a slice of {got} bytes, expected {want}")]
    SliceSize {
        /// What came.
        got: usize,
        /// What was due.
        want: usize,
    },
    /// No loader answers: go back to the last manifest and wait for one.
    #[error("no minibatch from any loader ({loaders}) after {waited_ms} ms: {why}")]
    NoData {
        /// Their addresses.
        loaders: String,
        /// How long.
        waited_ms: u64,
        /// What the last one said.
        why: String,
    },
    /// A loader refused, or sent something that is no minibatch: stop.
    #[error("loader {loader}: {why}")]
    BadData {
        /// Its address.
        loader: String,
        /// What is wrong.
        why: String,
    },
    /// A shard that doesn't fit the plan: stop.
    #[error("checkpoint shard {shard}: {why}")]
    Shard {
        /// Its name.
        shard: String,
        /// What is wrong.
        why: String,
    },
    /// The coordinator's store could not be reached or broke off: go back and try again.
    #[error("shard {shard} from the coordinator: {why}")]
    Store {
        /// The shard's name.
        shard: String,
        /// What happened.
        why: String,
    },
    /// An order that means nothing here: stop.
    #[error("order from the coordinator: {0}")]
    Order(String),
    /// The coordinator can't be reached, or said no.
    #[error("coordinator {address}: {why}")]
    Coordinator {
        /// Its address.
        address: String,
        /// What happened.
        why: String,
    },
    /// Nobody could find this worker.
    #[error("{0}")]
    Address(String),
    /// The run ended with an error; the coordinator says why.
    #[error("the run ended: {0}")]
    RunFailed(String),
    /// The loss is not a number any more, or beyond all measure: stop.
    #[error(
        "training has blown up after step {step}, loss {loss}: {first}. The last checkpoint is kept; the same command with a smaller rate (--set rate=…) in a new --run, other initial values, or the recipe `caffe` may help"
    )]
    NotFinite {
        /// Steps done before.
        step: u64,
        /// The loss.
        loss: f64,
        /// The first layer of this half in which a number isn't finite, and where in it.
        first: String,
    },
    /// Weights that a checkpoint must not hold: stop.
    #[error(
        "{tensor} holds {value} after step {step}: training has blown up. The last checkpoint is kept; try a smaller rate (--set rate=…) in a new --run"
    )]
    BadWeights {
        /// Which one.
        tensor: String,
        /// The first number that isn't finite.
        value: f32,
        /// Steps done.
        step: u64,
    },
    /// A buffer that isn't as long as the plan says: stop, a broken invariant.
    #[error("{tensor}: {got} numbers, the plan says {want}")]
    Shape {
        /// Which one.
        tensor: &'static str,
        /// Its length.
        got: usize,
        /// The plan's.
        want: usize,
    },
    /// The device has no room for the plan: stop.
    #[error("no room for {tensor}: {bytes} bytes asked for")]
    OutOfMemory {
        /// For what.
        tensor: &'static str,
        /// How much.
        bytes: usize,
    },
    /// The GPU has no room for the plan: stop.
    #[error(
        "{device} has no room for {tensor}: {mb:.0} MB asked for, {free_mb:.0} of {total_mb:.0} MB free; end what else runs on it (nvidia-smi lists it), or take fewer images at once (--set batch=…)"
    )]
    DeviceFull {
        /// As asked for.
        device: String,
        /// For what.
        tensor: &'static str,
        /// How much.
        mb: f64,
        /// How much there is.
        free_mb: f64,
        /// How large the card is.
        total_mb: f64,
    },
    /// The GPU failed in mid-work: no call to it succeeds any more, so the process must end and a
    /// new one go back to the last manifest.
    #[error(
        "{device} failed, noticed at {doing}: {why}; this process can't use it any more and ends"
    )]
    DeviceFault {
        /// As asked for.
        device: String,
        /// The operation that was told, which need not be the one that failed.
        doing: String,
        /// The driver's words.
        why: String,
    },
    /// A kernel that the compiler refuses: stop.
    #[error("{compiler} refuses {program}.cu:\n{log}")]
    Kernel {
        /// The kernel file.
        program: String,
        /// Which compiler, with its options.
        compiler: String,
        /// What it said.
        log: String,
    },
    /// A device this program can't use: stop.
    #[error("device {device}: {why}")]
    Device {
        /// As asked for.
        device: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// There is no GPU that could be used: stop. The CPU is the alternative.
    #[error("device {device}: {why}, or use cpu")]
    NoGpu {
        /// Requested device.
        device: String,
        /// Missing part, and how to get it.
        why: String,
    },
    /// A device that no restart of this program makes usable: stop at once.
    #[error("device {device}: {why}")]
    DeviceUnusable {
        /// As asked for.
        device: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A thread or socket the system refuses.
    #[error("{doing}: {why}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        why: std::io::Error,
    },
}

impl Error {
    /// Whether the other half finds the same by itself, and may know more of it.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::NotFinite { .. })
    }

    /// Whether a new process that is given the same would fail in the same way.
    pub fn is_for_good(&self) -> bool {
        matches!(self, Self::DeviceUnusable { .. } | Self::Kernel { .. })
    }

    /// Whether going back to the last manifest can help.
    pub fn can_retry(&self) -> bool {
        matches!(
            self,
            Self::PeerSilent { .. }
                | Self::PeerLost { .. }
                | Self::PeerRefused { .. }
                | Self::Mixed { .. }
                | Self::SliceSize { .. }
                | Self::NoData { .. }
                | Self::Store { .. }
                | Self::DeviceFault { .. }
        )
    }
}
