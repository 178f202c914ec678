//! A stretch of cable: bytes pass through, later by a given time; it can be cut and healed. TLS goes
//! through it from end to end. A process of its own, so that it can stand in a network namespace.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
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
    said: BufReader<ChildStdout>,
    /// Where it listens.
    pub address: String,
}

impl Proxy {
    /// Starts one: `command` is the program with [`WORD`] and where to listen.
    pub fn start(mut command: Command) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("the proxy starts");
        let orders = child.stdin.take().expect("a pipe");
        let said = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut proxy = Self { child, orders, said, address: String::new() };
        proxy.address = proxy.says("ready ");
        proxy
    }

    /// Connections made from now on go there, each byte `delay_us` later.
    pub fn leads_to(&mut self, target: &str, delay_us: u32) {
        self.order(&format!("to {target}"));
        self.delay(delay_us);
    }

    /// Each byte is so much later from now on, on connections that there are, too.
    pub fn delay(&mut self, delay_us: u32) {
        self.order(&format!("delay {delay_us}"));
    }

    /// Nothing passes any more, in any direction; connections stay open.
    pub fn cut(&mut self) {
        self.order("cut");
    }

    /// Cuts once so many more bytes have passed, and returns then: in the middle of a transfer.
    pub fn cut_after(&mut self, bytes: u64) {
        self.order(&format!("after {bytes}"));
        self.says("cut");
    }

    /// Everything passes again.
    pub fn heal(&mut self) {
        self.order("heal");
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").expect("the proxy lives");
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

/// What all connections share.
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
    /// Bytes until it cuts itself.
    left: Option<u64>,
}

impl Cable {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.healed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets so many bytes pass, once there is a whole cable.
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

/// `byte-proxy LISTEN`: obeys `to ADDRESS`, `delay MICROSECONDS`, `cut`, `after BYTES` and `heal`
/// on standard input, ends with it.
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
            _ => (state.is_cut, state.left) = (false, None),
        });
    }
}

fn println(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// One direction of a connection.
fn join(from: &TcpStream, to: &TcpStream, cable: &Arc<Cable>) {
    let (mut from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
    let _ = to.set_nodelay(true);
    let (sender, receiver): (SyncSender<(Instant, Vec<u8>)>, _) = sync_channel(ON_THE_WAY);
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
