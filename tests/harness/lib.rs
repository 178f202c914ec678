//! The test harness: small recipes, synthetic minibatches, golden data, real and in-process roles.

pub mod cluster; // all roles in this process, over real sockets
pub mod certs; // certificates, good and bad
pub mod erring_disk; // calls to a disk that fail or take their time
pub mod docker; // images and compose projects
pub mod gpu; // the emulated driver, or a real one
pub mod golden; // what an independent implementation computed, and how close is close
pub mod hosts; // two hosts: network namespaces with a cable between
pub mod proxy; // a stretch of that cable: delay, cut, heal
pub mod freeze; // one thread that stands still
pub mod machine_code; // what NVRTC makes of the kernels
pub mod process; // `alexnet up` in real processes
pub mod schedule; // who is killed when, from a seed
pub mod trouble; // what else happens when, from a seed
pub mod scrape; // a run's metrics, as Prometheus reads them
pub mod roles; // single roles as real processes
pub mod apart; // roles started one by one, with cables that can be cut
pub mod liar; // a loader that answers what it was not asked
pub mod trace; // what a viewer of traces takes for granted
pub mod slurm; // a Slurm cluster on this machine
pub mod untrained; // run directories without training, and pictures for them
pub mod small; // small networks and pictures
