//! Loopback: the path of tensors between the two halves on one machine.

use std::time::Duration;

use super::check::Check;
use crate::loopback::{Directions, bytes_per_s};

/// Duration of the measurement.
const SENT_FOR: Duration = Duration::from_millis(300);
/// Bytes per second below which two GPUs wait for each other: a step exchanges 81.5 MB.
const SLOW: f64 = 1e9;

/// Bytes per second over plain TCP on 127.0.0.1, one connection, or why there was none.
pub(super) fn probe() -> Result<f64, String> {
    bytes_per_s(Directions::One, SENT_FOR).map_err(|error| error.to_string())
}

/// Judges the rate.
pub(super) fn judge(rate: &Result<f64, String>) -> Check {
    match rate {
        Err(why) => Check::ok("network.loopback", format!("127.0.0.1 cannot be used: {why}")).wrong(
            "The processes of a run talk over 127.0.0.1: bring the interface up (ip link set lo \
             up), and open the firewall for it.",
        ),
        Ok(rate) => {
            let text = format!("{:.1} GB/s, plain TCP on 127.0.0.1, one connection", rate / 1e9);
            let check = Check::ok("network.loopback", text).number("bytes_per_s", *rate);
            if *rate >= SLOW {
                return check;
            }
            check.look(
                "On GPUs, the halves would wait for each other's tensors; on CPUs, this rate is \
                 enough. Run this command again on an idle machine; then check firewall rules \
                 on lo, and halve the bytes with --set wire=f16.",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    #[test]
    fn a_fast_loopback_is_in_order_a_slow_one_is_looked_at_and_none_is_wrong() {
        assert_eq!(judge(&Ok(SLOW)).verdict, Verdict::Ok);
        assert_eq!(judge(&Ok(SLOW / 2.0)).verdict, Verdict::Look);
        let none = judge(&Err("Network is unreachable".into()));
        assert_eq!(none.verdict, Verdict::Wrong);
        assert!(none.measured.contains("Network is unreachable"), "{none:?}");
    }
}
