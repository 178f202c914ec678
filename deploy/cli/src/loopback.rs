//! The speed of plain TCP on 127.0.0.1: the path of tensors between two halves on one machine.

use std::io::{Error, Read, Result, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Bytes of one write or read.
const PIECE: usize = 1 << 20;
/// Deadline of one read or write.
const DEADLINE: Duration = Duration::from_secs(2);

/// Directions in which bytes travel at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Directions {
    One,
    Both,
}

/// Bytes per second over one connection, all directions together; threads block on its two ends.
///
/// # Errors
/// If 127.0.0.1 cannot be used.
pub(crate) fn bytes_per_s(directions: Directions, sent_for: Duration) -> Result<f64> {
    let (a, b) = &connected()?;
    let (there, back) = ((a, b), (b, a));
    let pairs = match directions {
        Directions::One => vec![there],
        Directions::Both => vec![there, back],
    };
    std::thread::scope(|scope| {
        let started = Instant::now();
        let start = |(from, to)| {
            let sending = scope.spawn(move || send_until(from, started + sent_for));
            (sending, scope.spawn(move || count(to)))
        };
        let threads: Vec<_> = pairs.into_iter().map(start).collect();
        let mut bytes = 0;
        for (sending, receiving) in threads {
            let failed = |_| Error::other("a thread of the measurement failed");
            sending.join().map_err(failed)??;
            bytes += receiving.join().map_err(failed)??;
        }
        Ok(bytes as f64 / started.elapsed().as_secs_f64())
    })
}

fn connected() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let a = TcpStream::connect_timeout(&listener.local_addr()?, DEADLINE)?;
    let (b, _) = listener.accept()?;
    for end in [&a, &b] {
        end.set_write_timeout(Some(DEADLINE))?;
        end.set_read_timeout(Some(DEADLINE))?;
    }
    Ok((a, b))
}

fn send_until(mut to: &TcpStream, end: Instant) -> Result<()> {
    let piece = vec![0; PIECE];
    while Instant::now() < end {
        to.write_all(&piece)?;
    }
    to.shutdown(Shutdown::Write)
}

/// Number of bytes that arrive until the other end sends no more.
fn count(mut from: &TcpStream) -> Result<u64> {
    let (mut piece, mut bytes) = (vec![0; PIECE], 0);
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(bytes),
            n => bytes += n as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_carries_bytes_in_one_direction_and_in_both() {
        for directions in [Directions::One, Directions::Both] {
            let rate = bytes_per_s(directions, Duration::from_millis(50));
            assert!(rate.expect("tests talk over loopback") > 0.0);
        }
    }
}
