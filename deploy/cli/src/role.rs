//! One role in this process: listens, says where, and runs until the role ends, is asked to stop or
//! loses its parent.
//!
//! A role talks to its parent by lines on standard output: an address each before it starts, and
//! a coordinator's ending.

use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use coordinator::Ending;
use net::{Health, Trust};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use crate::exit::Stopped;
use crate::options::{ListenArgs, StoppedArgs};
use crate::print;
use crate::runtime::one_thread;
use crate::signals::Asked;

/// Beginning of the line that names a role's address; printed once it listens.
pub(crate) const READY: &str = "ready ";
/// Beginning of the line, before that one, that names the address of a coordinator's metrics.
pub(crate) const METRICS: &str = "metrics ";
/// Beginning of the line, before that one, that names the address of a role's health.
const HEALTH: &str = "health ";
/// The last line of a coordinator that ended without an error, by the ending of the run.
const LAST_LINES: [(Ending, &str); 3] = [
    (Ending::Finished, "finished"),
    (Ending::AlreadyFinished, "already finished"),
    (Ending::Stopped, "stopped"),
];

/// Resolves when the process is asked to stop.
pub(crate) type Stop = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The last line of a coordinator; `None` if the run failed, which is an error instead.
pub(crate) fn last_line(ending: &Ending) -> Option<&'static str> {
    LAST_LINES.iter().find(|(of, _)| of == ending).map(|(_, line)| *line)
}

/// The ending that a coordinator's last line reports; a missing line means that it finished.
pub(crate) fn ending(last_line: &str) -> Ending {
    let known = LAST_LINES.into_iter().find(|(_, line)| *line == last_line);
    known.map_or(Ending::Finished, |(ending, _)| ending)
}

/// Surroundings of a role in its process: listening address, certificates, health, exit code.
#[derive(Debug)]
pub(crate) struct Around {
    listen: ListenArgs,
    trust: Trust,
    health: Health,
    stopped_code: u8,
}

impl Around {
    /// A role that listens as typed, with these certificates, and reports its health.
    pub(crate) fn new(
        listen: &ListenArgs,
        trust: &Trust,
        health: &Health,
        stopped: StoppedArgs,
    ) -> Self {
        let (listen, trust, health) = (listen.clone(), trust.clone(), health.clone());
        Self { listen, trust, health, stopped_code: stopped.stopped_code }
    }
}

/// The end of a role that ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The run is over.
    Finished,
    /// The run was asked to stop.
    Stopped,
    /// The run is over, unless this process was asked to stop.
    AsAsked,
}

/// Listens, prints the address, and runs a role until it ends, is asked to stop, or its parent is
/// gone.
///
/// # Errors
/// If it can't listen, if strangers could connect without certificates, or if the role fails.
pub(crate) fn in_this_process<R>(around: Around, role: R) -> Result<()>
where
    R: AsyncFnOnce(TcpListener, Stop) -> Result<End>,
{
    let Around { listen: args, trust, health, stopped_code } = around;
    let runtime = one_thread()?;
    let mut signals = Asked::take_over();
    let done = runtime.block_on(async {
        let listener = listen(&args.listen).await?;
        let address = listener.local_addr().context("the listener has no address")?;
        if !(address.ip().is_loopback() || trust.is_secure() || args.insecure) {
            bail!(
                "listening on {address} without TLS lets everyone on that network read and steer \
                 the run: add --certs DIR (`alexnet certs DIR` makes them), or --insecure on a \
                 network that you trust"
            );
        }
        if let Some(until) = trust.valid_until() {
            tracing::info!(until, "connections are encrypted, with a certificate");
        }
        // Its task ends with the runtime.
        if let Some(address) = &args.health {
            tokio::spawn(health.serve(listen_for(address, "--health", HEALTH, "")?));
        }
        print::line(format_args!("{READY}{address}"));
        let (ask, asked) = watch::channel(false);
        let parent = parent_gone(args.with_parent);
        let asking = async {
            signals.asked().await;
            ask.send_replace(true);
            signals.asked().await;
        };
        let stop: Stop = {
            let mut asked = asked.clone();
            Box::pin(async move { drop(asked.wait_for(|asked| *asked).await) })
        };
        let work = async {
            let end = role(listener, stop).await?;
            let stopped = end == End::Stopped || end == End::AsAsked && *asked.borrow();
            if stopped && stopped_code != 0 {
                return Err(Stopped(stopped_code).into());
            }
            Ok(())
        };
        tokio::select! {
            done = work => done,
            () = asking => Err(anyhow::anyhow!(
                "asked to stop for the second time: ended at once, without waiting for a checkpoint"
            )),
            _ = parent => Err(anyhow::anyhow!("`alexnet up` has ended, so this process ends too")),
        }
    });
    // Threads that compute or read files may still be busy; their results are not needed.
    runtime.shutdown_timeout(Duration::from_millis(100));
    done
}

/// Listens for a client of plain HTTP, and prints the address after `line`, with `path`.
///
/// # Errors
/// If it can't listen on this address.
pub(crate) fn listen_for(
    address: &str,
    option: &str,
    line: &str,
    path: &str,
) -> Result<std::net::TcpListener> {
    let address = listening_address(address, option)?;
    let listener =
        std::net::TcpListener::bind(&address).with_context(|| cant_listen(&address, option))?;
    let address = listener.local_addr().context("the listener has no address")?;
    print::line(format_args!("{line}http://{address}{path}"));
    Ok(listener)
}

async fn listen(typed: &str) -> Result<TcpListener> {
    let address = listening_address(typed, "--listen")?;
    TcpListener::bind(&address).await.with_context(|| cant_listen(&address, "--listen"))
}

/// `HOST:PORT` of an address to listen on: a port alone means this machine only.
///
/// # Errors
/// If what was typed has no port.
fn listening_address(typed: &str, option: &str) -> Result<String> {
    let typed = typed.trim();
    let port = typed.strip_prefix(':').unwrap_or(typed);
    if port.parse::<u16>().is_ok() {
        return Ok(format!("127.0.0.1:{port}"));
    }
    let has_port = typed.rsplit_once(':').is_some_and(|(host, port)| {
        // Without brackets, the last part of an IPv6 address would count as a port.
        port.parse::<u16>().is_ok()
            && typed.parse::<std::net::Ipv6Addr>().is_err()
            && !host.is_empty()
    });
    if !has_port {
        let first = typed.split(':').next().unwrap_or_default();
        let is_name = !first.is_empty() && !first.bytes().all(|b| b.is_ascii_digit());
        let host = match typed.parse::<std::net::Ipv6Addr>() {
            Ok(ip) => format!("[{ip}]"),
            Err(_) => if is_name { first } else { "HOST" }.into(),
        };
        bail!(
            "{option} {typed} has no port that can be used: type HOST:PORT, such as {host}:4000, \
             a port alone for 127.0.0.1, or port 0 for any free port"
        );
    }
    Ok(typed.to_owned())
}

/// Message for an address on which this process can't listen.
fn cant_listen(address: &str, option: &str) -> String {
    format!(
        "can't listen on {address}: choose another address with {option}, or port 0 for any free \
         port"
    )
}

/// Resolves when the parent closes standard input; never, if there is no parent.
async fn parent_gone(has_parent: bool) {
    if !has_parent {
        return std::future::pending().await;
    }
    let (closed, is_closed) = oneshot::channel();
    // A thread, because a pending read of standard input would hold up the runtime's end.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = closed.send(());
    });
    let _ = is_closed.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_to_listen_on_may_be_a_port_alone_and_never_lacks_one() {
        let address = |typed| listening_address(typed, "--listen").map_err(|e| e.to_string());
        for (typed, taken) in [
            ("4000", "127.0.0.1:4000"),
            (":4000", "127.0.0.1:4000"),
            ("0", "127.0.0.1:0"),
            ("0.0.0.0:4000", "0.0.0.0:4000"),
            ("[::1]:4000", "[::1]:4000"),
            ("trainer:4000", "trainer:4000"),
        ] {
            assert_eq!(address(typed).as_deref(), Ok(taken));
        }
        for (typed, says) in [
            ("0.0.0.0", "0.0.0.0:4000"),
            ("trainer", "trainer:4000"),
            ("trainer:http", "trainer:4000"),
            ("::1", "[::1]:4000"),
            ("70000", "HOST:4000"),
            ("10.0.0.1:70000", "10.0.0.1:4000"),
            ("", "HOST:4000"),
        ] {
            let said = address(typed).unwrap_err();
            assert!(said.contains(says) && said.contains("type HOST:PORT"), "{typed}: {said}");
        }
    }

    #[test]
    fn every_ending_comes_back_from_its_line() {
        for (of, line) in LAST_LINES {
            assert_eq!((last_line(&of), ending(line)), (Some(line), of));
        }
        assert_eq!(last_line(&Ending::Failed { reason: "no loader".into() }), None);
    }
}
