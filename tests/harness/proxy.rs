//! A stretch of cable: bytes pass through, later by a given time; it can be cut and healed. TLS goes
//! through it from end to end. A process of its own, so that it can stand in a network namespace.

use std::io::{BufRead, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The first word of the command line that makes a process one.
pub const WORD: &str = "byte-proxy";
/// A piece that travels as one.
const PIECE: usize = 64 << 10;
/// Pieces on their way: 16 MB, more than 10 Gbit/s carry in any delay used here.
const ON_THE_WAY: usize = 256;

/// A proxy's process, to cut and heal.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    orders: ChildStdin,
}

impl Proxy {
    /// Takes over a process that was started with [`WORD`] and a piped standard input.
    pub fn of(mut child: Child) -> Self {
        let orders = child.stdin.take().expect("a pipe");
        Self { child, orders }
    }

    /// Nothing passes any more, in any direction; connections stay open.
    pub fn cut(&mut self) {
        writeln!(self.orders, "cut").expect("the proxy lives");
    }

    /// Everything passes again.
    pub fn heal(&mut self) {
        writeln!(self.orders, "heal").expect("the proxy lives");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the cable is cut, and who waits for it to be healed.
#[derive(Debug, Default)]
struct Cable {
    is_cut: Mutex<bool>,
    healed: Condvar,
}

impl Cable {
    fn set(&self, is_cut: bool) {
        *self.is_cut.lock().unwrap_or_else(PoisonError::into_inner) = is_cut;
        self.healed.notify_all();
    }

    fn wait(&self) {
        let is_cut = self.is_cut.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.healed.wait_while(is_cut, |is_cut| *is_cut));
    }
}

/// `byte-proxy LISTEN TARGET DELAY_US`: obeys `cut` and `heal` on standard input, ends with it.
pub fn main(args: &[String]) {
    let [listen, target, delay] = args else { panic!("LISTEN TARGET DELAY_US, not {args:?}") };
    let delay = Duration::from_micros(delay.parse().expect("microseconds"));
    let listener = TcpListener::bind(listen).expect("an address to listen on");
    let (cable, target) = (Arc::new(Cable::default()), target.clone());
    let accepting = cable.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            if let Ok(server) = TcpStream::connect(&target) {
                join(&client, &server, delay, &accepting);
                join(&server, &client, delay, &accepting);
            }
        }
    });
    println(&format!("ready {listen}"));
    for order in std::io::stdin().lock().lines().map_while(Result::ok) {
        cable.set(order == "cut");
    }
}

fn println(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// One direction of a connection.
fn join(from: &TcpStream, to: &TcpStream, delay: Duration, cable: &Arc<Cable>) {
    let (mut from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
    let _ = to.set_nodelay(true);
    let (sender, receiver): (SyncSender<(Instant, Vec<u8>)>, _) = sync_channel(ON_THE_WAY);
    let cable = cable.clone();
    std::thread::spawn(move || deliver(receiver, to, &cable));
    std::thread::spawn(move || {
        let mut piece = vec![0; PIECE];
        while let Ok(n @ 1..) = from.read(&mut piece) {
            if sender.send((Instant::now() + delay, piece[..n].to_vec())).is_err() {
                return;
            }
        }
    });
}

#[expect(clippy::disallowed_methods, reason = "the delay is what this is for")]
fn deliver(pieces: Receiver<(Instant, Vec<u8>)>, mut to: TcpStream, cable: &Cable) {
    for (due, piece) in pieces {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        cable.wait();
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
