//! The goodput of the exchange alone, over loopback, with TLS and without, alternating.

use std::path::Path;
use std::time::Duration;

use gpu_worker::exchange::goodput;
use net::{Role, Trust};

use crate::records::median;
use crate::say;

/// Bytes of one half's maps at conv3, for a micro-batch of 32 images.
const TENSOR: usize = 2_768_896;
const MEASURED: Duration = Duration::from_secs(1);
const ROUNDS: usize = 5;

/// Prints both goodputs and their ratio.
pub(crate) fn measure(certs: &Path) {
    let trust = |secure: bool| match secure {
        true => Trust::read(certs, Role::Worker).expect("certificates"),
        false => Trust::default(),
    };
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for secure in [false, true] {
            let rate = goodput::bytes_per_s(&trust(secure), TENSOR, MEASURED);
            rates[usize::from(secure)].push(rate.expect("all arrives") / 1e9);
        }
    }
    let [plain, tls] = rates.map(|mut rates| median(&mut rates));
    say(&format!(
        "exchange goodput over loopback, both directions together: {plain:.2} GB/s without TLS, \
         {tls:.2} GB/s with ({:.0} %)",
        100.0 * tls / plain
    ));
}
