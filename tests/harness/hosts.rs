//! Two hosts with a cable between them, emulated by network namespaces. A token bucket limits the
//! rate; a proxy before each service adds the delay.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::proxy::{Proxy, WORD};
use crate::roles::Machine;

/// Number of the next pair of hosts; tests in one process may have several at once.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Two emulated hosts, removed when dropped.
#[derive(Debug)]
pub struct Hosts {
    /// Network namespace of each host.
    names: [String; 2],
    /// Starters of processes on each host.
    pub machines: [Machine; 2],
}

/// IP address of each host.
pub const ADDRESSES: [&str; 2] = ["10.77.0.1", "10.77.0.2"];

impl Hosts {
    /// Creates two hosts; `rate` is written as for `tc`, such as `1gbit`.
    ///
    /// # Errors
    /// A line that says why this machine can't emulate hosts.
    pub fn new(here: &Machine, rate: Option<&str>) -> Result<Self, String> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let names = ["a", "b"].map(|n| format!("alexnet-{}-{number}{n}", std::process::id()));
        let machines = [0, 1].map(|i| here.in_namespace(&names[i]));
        ip(&format!("netns add {}", names[0]))?;
        let hosts = Self { names, machines };
        ip(&format!("netns add {}", hosts.names[1]))?;
        let [a, b] = &hosts.names;
        ip(&format!("-n {a} link add cable type veth peer name cable netns {b}"))?;
        for (name, address) in hosts.names.iter().zip(ADDRESSES) {
            ip(&format!("-n {name} address add {address}/24 dev cable"))?;
            ip(&format!("-n {name} link set cable up"))?;
            ip(&format!("-n {name} link set lo up"))?;
            if let Some(rate) = rate {
                // A burst of 5 MB: what 10 Gbit/s carry in 4 ms, the kernel's tick.
                let bucket = format!("rate {rate} burst 5mb latency 50ms");
                let add = format!("-n {name} qdisc add dev cable root tbf {bucket}");
                said("tc", &add)?;
            }
        }
        Ok(hosts)
    }

    /// Starts a delaying proxy on one host: connections to the returned address arrive at `port`,
    /// each byte `delay_us` later.
    pub fn delay(&self, host: usize, port: u16, delay_us: u32) -> (Proxy, String) {
        let [listen, target] = [port + 1000, port].map(|p| format!("{}:{p}", ADDRESSES[host]));
        let mut proxy = Proxy::start(self.machines[host].command(&[WORD, &listen]));
        proxy.leads_to(&target, delay_us);
        (proxy, listen)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

fn ip(args: &str) -> Result<(), String> {
    said("ip", args)
}

fn said(program: &str, args: &str) -> Result<(), String> {
    let output = Command::new(program)
        .args(args.split(' '))
        .output()
        .map_err(|e| format!("no network namespaces here: {program}: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "no network namespaces here: {program} {args}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }
}
