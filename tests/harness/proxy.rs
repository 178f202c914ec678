//! A proxy that stands for a cable: it passes bytes on after a given delay, and can be cut and
//! healed. TLS passes through unchanged. The proxy is a process, so that it can run in a network
//! namespace.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// First argument of a process that is a proxy.
pub const WORD: &str = "byte-proxy";
/// Bytes that are passed on together.
const PIECE: usize = 64 << 10;
/// Pieces in flight: 16 MB, more than 10 Gbit/s carry during any delay used here.
const IN_FLIGHT: usize = 256;

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    orders: ChildStdin,
    said: BufReader<ChildStdout>,
    /// Address on which the proxy listens.
    pub address: String,
}

impl Proxy {
    /// Starts a proxy; `command` is the program with [`WORD`] and the address to listen on.
    pub fn start(mut command: Command) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("the proxy starts");
        let orders = child.stdin.take().expect("a pipe");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut proxy = Self { child, orders, said, address: String::new() };
        proxy.address = proxy.says("ready ");
        proxy
    }

    /// Directs new connections to `target`, each byte `delay_us` later.
    pub fn leads_to(&mut self, target: &str, delay_us: u32) {
        self.send(&format!("to {target}"));
        self.delay(delay_us);
    }

    /// Sets the delay of each byte, on existing connections too.
    pub fn delay(&mut self, delay_us: u32) {
        self.send(&format!("delay {delay_us}"));
    }

    /// Stops all bytes in both directions; connections stay open.
    pub fn cut(&mut self) {
        self.send("cut");
    }

    /// Waits until `bytes` more bytes have passed, then cuts: in the middle of a transfer.
    pub fn cut_after(&mut self, bytes: u64) {
        self.send(&format!("after {bytes}"));
        self.says("cut");
    }

    /// Ends all connections at once, as a router does that was started again (RST).
    pub fn reset(&mut self) {
        self.send("reset");
    }

    /// Lets bytes pass again.
    pub fn heal(&mut self) {
        self.send("heal");
    }

    fn send(&mut self, command: &str) {
        writeln!(self.orders, "{command}").expect("the proxy lives");
    }

    fn says(&mut self, word: &str) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("a line");
        let rest = line.strip_prefix(word);
        rest.unwrap_or_else(|| panic!("the proxy says {line:?}, not {word}")).trim().into()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The state that all connections share.
#[derive(Debug, Default)]
struct Cable {
    state: Mutex<State>,
    healed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    target: String,
    delay: Duration,
    is_cut: bool,
    /// Number of bytes after which the cable is cut.
    left: Option<u64>,
    /// Both ends of every connection since the last reset.
    ends: Vec<TcpStream>,
}

impl Cable {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.healed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the cable is whole, then counts `bytes` as passed.
    fn pass(&self, bytes: u64) {
        let mut state = self.state();
        if let Some(left) = state.left {
            state.left = left.checked_sub(bytes);
            if state.left.is_none() {
                state.is_cut = true;
                println("cut");
            }
        }
        drop(self.healed.wait_while(state, |state| state.is_cut));
    }
}

/// Runs `byte-proxy LISTEN`, which obeys `to ADDRESS`, `delay MICROSECONDS`, `cut`, `after BYTES`,
/// `reset` and `heal` on standard input, and ends with it.
pub fn main(args: &[String]) {
    let [listen] = args else { panic!("LISTEN, not {args:?}") };
    let listener = TcpListener::bind(listen).expect("an address to listen on");
    let address = listener.local_addr().expect("an address");
    let cable = Arc::new(Cable::default());
    let accepting = cable.clone();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let target = accepting.state().target.clone();
            if let Ok(server) = TcpStream::connect(&target) {
                join(&client, &server, &accepting);
                join(&server, &client, &accepting);
                accepting.change(|state| state.ends.extend([client, server]));
            }
        }
    });
    println(&format!("ready {address}"));
    for order in std::io::stdin().lock().lines().map_while(Result::ok) {
        let (word, value) = order.split_once(' ').unwrap_or((&order, ""));
        let number = || value.parse().expect("a number");
        cable.change(|state| match word {
            "to" => state.target = value.to_owned(),
            "delay" => state.delay = Duration::from_micros(number()),
            "after" => state.left = Some(number()),
            "cut" => state.is_cut = true,
            "reset" => state.ends.drain(..).for_each(|end| reset(&end)),
            _ => (state.is_cut, state.left) = (false, None),
        });
    }
}

fn println(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Ends a connection in a way that its other end takes for an error.
fn reset(end: &TcpStream) {
    let _ = socket2::SockRef::from(end).set_linger(Some(Duration::ZERO));
    let _ = end.shutdown(Shutdown::Both);
}

/// One direction of a connection.
fn join(from: &TcpStream, to: &TcpStream, cable: &Arc<Cable>) {
    let (mut from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
    let _ = to.set_nodelay(true);
    let (sender, receiver): (SyncSender<(Instant, Vec<u8>)>, _) = sync_channel(IN_FLIGHT);
    let (delivering, reading) = (cable.clone(), cable.clone());
    std::thread::spawn(move || deliver(receiver, to, &delivering));
    std::thread::spawn(move || {
        let mut piece = vec![0; PIECE];
        while let Ok(n @ 1..) = from.read(&mut piece) {
            let delay = reading.state().delay;
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
        cable.pass(piece.len() as u64);
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
