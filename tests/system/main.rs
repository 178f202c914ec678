//! System tests: the processes of a run together.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed; its helpers too")]

mod deploy; // the image and the compose files
mod stalled; // processes that are slow, asleep or disconnected
mod doctor; // `alexnet doctor` on machines with a fault
mod loaders; // loaders that are slow, hang or lie beside one that does not
mod disks; // disks that are full, read-only or damaged
mod gradients; // of every kind of network, against its loss
mod erring; // disks that err or are slow at one call
mod numbers; // a run that diverges
mod failure; // a process fails during a run
mod leaving; // processes that are asked to leave, hang inside, or don't fit their place
mod cuda; // workers on GPUs, emulated or real
mod nvrtc; // every way to install NVRTC, and the choice among them
mod kernels; // the machine code of the kernels, and what it implies for speed
mod slurm; // jobs of a Slurm cluster
mod kubernetes; // the manifests: rendered, checked, and what their command lines do
mod schedules; // seeded schedules of kills
mod processes; // `alexnet` as a person runs it
mod refusals; // runs that cannot work say so once; signals end every command
mod preparing; // `prepare`: interrupted, repeated, with changed pictures
mod after; // `predict` and `eval` on people's folders, and while a training runs
mod formats; // networks in other programs' files, out and in
mod looking; // what a trained network shows: filters, nearest pictures, features, several runs
mod replaying; // steps of the past again
mod reproducing; // experiments of the paper, small
mod starting; // from the weights of another run
mod resume; // the same bits after a stop or with another number of loaders
mod step; // a step against PyTorch, and two halves against the whole
mod hosts; // two hosts train as one
mod hostile; // hostile clients while a run trains
mod frames; // damaged tensors between the halves
mod trust; // certificates, roles and refusals
mod timing; // the timing of steps
mod benching; // the speed of this machine, and what training reaches
mod tidy; // documentation and code agree
mod watching; // Prometheus and TensorBoard

/// The program that these tests start.
fn program() -> &'static str {
    cuda_emulator::program(env!("CARGO_BIN_EXE_alexnet-under-test"))
}
