//! Devices of a network in this process: shared by `eval`, `similar` and `features`.

use clap::Args;

use super::GpuArgs;

/// One device per half, and the libraries of those that are GPUs.
#[derive(Debug, Clone, Args)]
pub(crate) struct DeviceArgs {
    /// One device per half, such as cuda:0,cuda:1 or cpu:4,cpu:4; auto takes the GPUs, or all CPU
    /// cores if there is no GPU
    #[arg(long, default_value = "auto", value_name = "DEVICE,DEVICE")]
    pub devices: String,

    /// Libraries of the GPUs.
    #[command(flatten)]
    pub gpu: GpuArgs,
}
