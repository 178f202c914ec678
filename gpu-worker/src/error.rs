//! The errors of a worker, and the reaction to each.

use proto::wire::Blame;

/// Shorthand for this crate's results.
pub type Result<T> = std::result::Result<T, Error>;

/// The reason why a step did not finish; the variant decides what the coordinator does.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing came from the other half in time: return to the last manifest.
    #[error(
        "no {at} from the other half after {waited_ms} ms: it may be stopped, cut off or far too \
         slow"
    )]
    PeerSilent {
        /// The tensor that was due.
        at: String,
        /// Length of the wait.
        waited_ms: u64,
    },
    /// The connection to the other half ended: return to the last manifest.
    #[error("the other half is gone ({why})")]
    PeerLost {
        /// The connection's error.
        why: String,
    },
    /// The other half's address can't be reached: return to the last manifest.
    #[error("{why}")]
    PeerUnreachable {
        /// The process that tried, and why it failed.
        why: String,
    },
    /// The coordinator wants no more of this incarnation's work: not a failure.
    #[error("interrupted: the coordinator wants no more of this work")]
    Interrupted,
    /// The coordinator did not say in time that this worker may leave.
    #[error(
        "asked to stop, and left without a new checkpoint: {why}; the run resumes from the last one"
    )]
    LeftUnkept {
        /// The coordinator's silence.
        why: String,
    },
    /// A frame of one half broke the exchange's rules: return to the last manifest.
    ///
    /// A transient fault will not repeat; two halves that keep disagreeing soon use up the run's
    /// restarts.
    #[error("the exchange with the other half broke its rules: {why}")]
    PeerRefused {
        /// The broken rule.
        why: String,
    },
    /// The other half sent another tensor than the one that is due: return to the last manifest.
    #[error("the other half sent {got}, expected {want}: the two workers don't do the same step")]
    WrongTensor {
        /// The tensor received.
        got: String,
        /// The tensor that was due.
        want: String,
    },
    /// The other half sent a tensor of another size: return to the last manifest.
    #[error("the other half sent a tensor of {got} bytes, expected {want}")]
    TensorSize {
        /// Bytes received.
        got: usize,
        /// Bytes expected.
        want: usize,
    },
    /// No loader answers: return to the last manifest and wait for one.
    #[error("no minibatch from any loader ({loaders}) after {waited_ms} ms: {why}")]
    NoData {
        /// Addresses of the loaders.
        loaders: String,
        /// Length of the wait.
        waited_ms: u64,
        /// The last loader's error.
        why: String,
    },
    /// All loaders refused a request or sent wrong minibatches: stop.
    #[error("loader {loader}: {why}")]
    BadData {
        /// Address of the loader, the first of several.
        loader: String,
        /// The problem; with several loaders, addresses and problems of the others follow.
        why: String,
    },
    /// A shard that doesn't fit the plan: stop.
    #[error("checkpoint shard {shard}: {why}")]
    Shard {
        /// Name of the shard.
        shard: String,
        /// The problem.
        why: String,
    },
    /// The coordinator's store could not be reached, or the transfer broke off: try again.
    #[error("shard {shard} from the coordinator: {why}")]
    Store {
        /// The shard's name.
        shard: String,
        /// The cause.
        why: String,
    },
    /// The coordinator sent a command that this worker cannot carry out: stop.
    #[error("command from the coordinator: {0}")]
    Command(String),
    /// The coordinator refused this worker: stop.
    #[error("coordinator {address}: {why}")]
    Refused {
        /// Address of the coordinator.
        address: String,
        /// The coordinator's reason.
        why: String,
    },
    /// The coordinator can't be reached.
    #[error("coordinator {address}: {why}")]
    Coordinator {
        /// Address of the coordinator.
        address: String,
        /// The cause.
        why: String,
    },
    /// The address of this worker cannot be given to others.
    #[error("{0}")]
    Address(String),
    /// The run ended with an error, which the coordinator reported.
    #[error("the run ended: {0}")]
    RunFailed(String),
    /// The loss is NaN or far too large: stop.
    #[error(
        "training has blown up after step {step}, loss {loss}: {first}. The last checkpoint is \
         kept; the same command with a smaller rate (--set rate=…) in a new --run, other initial \
         values, or the recipe `caffe` may help"
    )]
    NotFinite {
        /// Steps done before.
        step: u64,
        /// Loss of that step.
        loss: f64,
        /// The first tensor of this half with a number that isn't finite.
        first: String,
    },
    /// Weights with a number that isn't finite, which no checkpoint may hold: stop.
    #[error(
        "{tensor} holds {value} after step {step}: training has blown up. The last checkpoint is \
         kept; try a smaller rate (--set rate=…) in a new --run"
    )]
    BadWeights {
        /// Name of the tensor.
        tensor: String,
        /// The first number that isn't finite.
        value: f32,
        /// Steps done.
        step: u64,
    },
    /// A buffer whose length differs from the plan's, which is a broken invariant: stop.
    #[error("{tensor}: {got} numbers, the plan says {want}")]
    Shape {
        /// Name of the tensor.
        tensor: &'static str,
        /// Length of the buffer.
        got: usize,
        /// Length in the plan.
        want: usize,
    },
    /// A name that no layer of the network has.
    #[error("the network has no layer {layer}; its layers are {layers}")]
    NoLayer {
        /// The name.
        layer: String,
        /// Names of all layers.
        layers: String,
    },
    /// The computer has no memory for the plan: stop.
    #[error("no room for {tensor}: {bytes} bytes requested")]
    OutOfMemory {
        /// Name of the tensor.
        tensor: &'static str,
        /// Size of the tensor.
        bytes: usize,
    },
    /// The GPU has no memory for the plan: stop.
    #[error(
        "{device} has no room for {tensor}: {mb:.0} MB requested, {free_mb:.0} of {total_mb:.0} MB \
         free; end other programs on it (nvidia-smi lists them), or use a smaller batch \
         (--set batch=…)"
    )]
    DeviceFull {
        /// The device, as the operator named it.
        device: String,
        /// Name of the tensor.
        tensor: &'static str,
        /// Size of the tensor.
        mb: f64,
        /// Free memory of the GPU.
        free_mb: f64,
        /// Memory of the GPU.
        total_mb: f64,
    },
    /// The device failed or hangs during work: no call to it succeeds any more, so the process must
    /// end, and a new one returns to the last manifest.
    #[error(
        "{device} failed, noticed at {doing}: {why}; this process can't use it any more and ends"
    )]
    DeviceFault {
        /// The device, as the operator named it.
        device: String,
        /// The operation that reported the failure, which need not be the one that failed.
        doing: String,
        /// The driver's message.
        why: String,
    },
    /// A kernel file that the compiler refuses: stop.
    #[error("{compiler} refuses {program}.cu:\n{log}")]
    Kernel {
        /// The kernel file.
        program: String,
        /// Name of the compiler, with its options.
        compiler: String,
        /// Messages of the compiler.
        log: String,
    },
    /// A device that this program can't use: stop.
    #[error("device {device}: {why}")]
    Device {
        /// The device, as the operator named it.
        device: String,
        /// The problem, and what to do.
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
        /// The device, as the operator named it.
        device: String,
        /// The problem, and what to do.
        why: String,
    },
    /// A thread or socket that the operating system refuses.
    #[error("{doing}: {why}")]
    System {
        /// The attempt, as in "starting a thread".
        doing: &'static str,
        /// The system's error.
        why: std::io::Error,
    },
}

impl Error {
    /// Whether the other half detects the same problem by itself, and may know more about it.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::NotFinite { .. })
    }

    /// Whether a new process with the same settings would fail in the same way.
    pub fn is_for_good(&self) -> bool {
        matches!(self, Self::DeviceUnusable { .. } | Self::Kernel { .. } | Self::Address(_))
    }

    /// The machine that the failure belongs to: another one in its place may not have it.
    pub(crate) fn blame(&self) -> Blame {
        match self {
            Self::OutOfMemory { .. }
            | Self::DeviceFull { .. }
            | Self::DeviceFault { .. }
            | Self::Kernel { .. }
            | Self::System { .. } => Blame::Worker,
            Self::PeerUnreachable { .. } | Self::PeerSilent { .. } => Blame::Peer,
            _ => Blame::Unspecified,
        }
    }

    /// Whether a return to the last manifest can help.
    pub fn can_retry(&self) -> bool {
        matches!(
            self,
            Self::PeerSilent { .. }
                | Self::PeerLost { .. }
                | Self::PeerUnreachable { .. }
                | Self::PeerRefused { .. }
                | Self::WrongTensor { .. }
                | Self::TensorSize { .. }
                | Self::NoData { .. }
                | Self::Store { .. }
                | Self::DeviceFault { .. }
        )
    }
}
