//! Loopback: the path of tensors between the two halves on one machine.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::check::Check;

/// Bytes of one write.
const PIECE: usize = 1 << 20;
/// Duration of the measurement.
const SENT_FOR: Duration = Duration::from_millis(300);
/// Deadline of one read or write.
const DEADLINE: Duration = Duration::from_secs(2);
/// Bytes per second below which two GPUs wait for each other: a step exchanges 81.5 MB.
const SLOW: f64 = 1e9;

/// Bytes per second over plain TCP on 127.0.0.1, one connection, or why there was none.
pub(super) fn probe() -> Result<f64, String> {
    measure().map_err(|error| error.to_string())
}

fn measure() -> std::io::Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut sender = TcpStream::connect_timeout(&listener.local_addr()?, DEADLINE)?;
    sender.set_write_timeout(Some(DEADLINE))?;
    let (mut receiver, _) = listener.accept()?;
    receiver.set_read_timeout(Some(DEADLINE))?;
    let receiving = std::thread::spawn(move || -> std::io::Result<u64> {
        let (mut piece, mut bytes) = (vec![0; PIECE], 0);
        loop {
            match receiver.read(&mut piece)? {
                0 => return Ok(bytes),
                n => bytes += n as u64,
            }
        }
    });
    let (piece, started) = (vec![0; PIECE], Instant::now());
    while started.elapsed() < SENT_FOR {
        sender.write_all(&piece)?;
    }
    drop(sender);
    let bytes = receiving.join().map_err(|_| std::io::Error::other("the receiver failed"))??;
    Ok(bytes as f64 / started.elapsed().as_secs_f64())
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
    fn loopback_carries_bytes() {
        let rate = probe().expect("tests talk over loopback");
        assert!(rate > 0.0, "{rate}");
    }

    #[test]
    fn a_fast_loopback_is_in_order_a_slow_one_is_looked_at_and_none_is_wrong() {
        assert_eq!(judge(&Ok(SLOW)).verdict, Verdict::Ok);
        assert_eq!(judge(&Ok(SLOW / 2.0)).verdict, Verdict::Look);
        let none = judge(&Err("Network is unreachable".into()));
        assert_eq!(none.verdict, Verdict::Wrong);
        assert!(none.measured.contains("Network is unreachable"), "{none:?}");
    }
}
