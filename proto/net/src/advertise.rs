//! The address that other processes are given.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::{UdpSocket, lookup_host};

use crate::Backoff;

/// The address that other processes are given.
///
/// This is `advertise`, with the listener's port if it has none. Without it, it is the address on
/// which this process listens; one that listens on all addresses of its machine takes the one from
/// which it reaches `coordinator` (`HOST:PORT`). The coordinator's name may come to exist later,
/// within `patience`.
///
/// # Errors
/// A sentence that says what to do, if none of these can be dialed.
pub async fn advertised(
    own: SocketAddr,
    advertise: Option<&str>,
    coordinator: &str,
    patience: Duration,
) -> Result<String, String> {
    let Some(given) = advertise else {
        return match own.ip().is_unspecified() {
            false => Ok(own.to_string()),
            true => own_address(coordinator, patience)
                .await
                .map(|ip| SocketAddr::new(ip, own.port()).to_string())
                .map_err(|why| unknown(own, coordinator, &why)),
        };
    };
    dialable(given.trim(), own.port()).map_err(|why| {
        format!(
            "--advertise {given} can't be dialed: {why}; give HOST:PORT as others reach this \
             machine, such as 10.0.0.2:4002, [2001:db8::2]:4002 or trainer.example:4002"
        )
    })
}

fn unknown(own: SocketAddr, coordinator: &str, why: &str) -> String {
    format!(
        "listening on {own} says nothing about how others reach this machine, and this machine's \
         way to the coordinator at {coordinator} is not known: {why}; correct --coordinator, or \
         add --advertise HOST:PORT as others dial this process"
    )
}

/// This machine's own address on the way to the coordinator, asked for again within `patience`.
async fn own_address(coordinator: &str, patience: Duration) -> Result<IpAddr, String> {
    let began = Instant::now();
    let mut backoff = Backoff::default();
    loop {
        match towards(coordinator).await {
            Err(why) if began.elapsed() < patience => {
                tracing::debug!(coordinator, why, "no way to the coordinator, looking again");
                backoff.pause().await;
            }
            found => return found,
        }
    }
}

/// This machine's own address on the way to `peer`. No byte is sent.
async fn towards(peer: &str) -> Result<IpAddr, String> {
    let mut why = "its name has no address".to_owned();
    for peer in lookup_host(peer).await.map_err(|error| error.to_string())? {
        let any: IpAddr = match peer {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let found = async {
            let socket = UdpSocket::bind((any, 0)).await?;
            // Connecting a UDP socket only chooses the route.
            socket.connect(peer).await?;
            socket.local_addr()
        };
        match found.await {
            Ok(found) => return Ok(found.ip().to_canonical()),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

/// `HOST:PORT` from an address with or without a port; an IPv6 address may stand in brackets.
fn dialable(given: &str, own_port: u16) -> Result<String, String> {
    let (host, port) = split(given)?;
    let port = match port {
        None => own_port,
        Some(digits) => match digits.parse() {
            Ok(0) => return Err("nothing listens on port 0".into()),
            Ok(port) if digits.bytes().all(|b| b.is_ascii_digit()) => port,
            _ => return Err(format!("{digits:?} is no port, which is a number up to 65535")),
        },
    };
    match host.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => Err(format!("{ip} means every address of a machine")),
        Ok(ip) => Ok(SocketAddr::new(ip, port).to_string()),
        Err(_) => named(host).map(|host| format!("{host}:{port}")),
    }
}

/// Host, and port if there is one, of `HOST`, `HOST:PORT`, an IPv6 address, `[IPv6]` or
/// `[IPv6]:PORT`.
fn split(given: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = given.strip_prefix('[') {
        let (inside, after) = rest.split_once(']').ok_or("its bracket is not closed")?;
        if inside.contains('%') {
            return Err(ZONE.into());
        }
        inside.parse::<Ipv6Addr>().map_err(|_| format!("{inside:?} is no IPv6 address"))?;
        return match after {
            "" => Ok((inside, None)),
            _ => {
                let port = after.strip_prefix(':');
                Ok((inside, Some(port.ok_or_else(|| format!("{after:?} is no port"))?)))
            }
        };
    }
    if given.contains('%') {
        return Err(ZONE.into());
    }
    if given.parse::<Ipv6Addr>().is_ok() {
        return Ok((given, None));
    }
    match given.split_once(':') {
        Some((_, rest)) if rest.contains(':') => {
            Err("it has several colons and is no IPv6 address".into())
        }
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((given, None)),
    }
}

const ZONE: &str = "a zone (%…) has a meaning on this machine only";

/// A host name; a dot at its end says that it is complete.
fn named(host: &str) -> Result<&str, String> {
    let label = |label: &str| {
        !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    };
    if host.strip_suffix('.').unwrap_or(host).split('.').all(label) {
        return Ok(host);
    }
    match host {
        "" => Err("it names no host".into()),
        _ => Err(format!("{host:?} is no host name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn on(listener: &str, given: Option<&str>, coordinator: &str) -> Result<String, String> {
        advertised(listener.parse().unwrap(), given, coordinator, Duration::ZERO).await
    }

    async fn of(given: &str) -> Result<String, String> {
        on("127.0.0.1:4002", Some(given), "nowhere").await
    }

    #[tokio::test]
    async fn an_address_gets_the_listeners_port_unless_it_has_one() {
        for (given, dialed) in [
            ("10.0.0.2", "10.0.0.2:4002"),
            ("10.0.0.2:5", "10.0.0.2:5"),
            ("::1", "[::1]:4002"),
            ("[::1]", "[::1]:4002"),
            ("[::1]:5", "[::1]:5"),
            ("[2001:db8::2]", "[2001:db8::2]:4002"),
            ("2001:db8::2", "[2001:db8::2]:4002"),
            ("worker-a", "worker-a:4002"),
            ("worker_a:5", "worker_a:5"),
            ("trainer.example.", "trainer.example.:4002"),
            (" trainer.example:5 ", "trainer.example:5"),
        ] {
            assert_eq!(of(given).await.as_deref(), Ok(dialed), "{given}");
        }
    }

    #[tokio::test]
    async fn what_nobody_can_dial_is_refused_with_the_reason() {
        for (given, why) in [
            ("0.0.0.0:5", "every address"),
            ("[::]", "every address"),
            ("::", "every address"),
            ("10.0.0.2:0", "port 0"),
            ("[::1]:0", "port 0"),
            ("10.0.0.2:70000", "65535"),
            ("10.0.0.2:+5", "65535"),
            ("host:", "65535"),
            ("[::1", "not closed"),
            ("[::1]5", "is no port"),
            ("[10.0.0.2]:5", "no IPv6 address"),
            ("fe80::1%eth0", "zone"),
            ("[fe80::1%eth0]:5", "zone"),
            ("http://host:5", "several colons"),
            ("host/path", "no host name"),
            ("a..b", "no host name"),
            (":5", "names no host"),
            ("", "names no host"),
        ] {
            let said = of(given).await.unwrap_err();
            assert!(
                said.contains(why) && said.contains("such as 10.0.0.2:4002"),
                "{given}: {said}"
            );
        }
    }

    #[tokio::test]
    async fn a_listener_on_every_address_is_reached_as_it_reaches_the_coordinator() {
        let found = on("0.0.0.0:4002", None, "127.0.0.1:9").await;
        assert_eq!(found.as_deref(), Ok("127.0.0.1:4002"));
        // Any address of this machine leads back to itself.
        assert_eq!(on("0.0.0.0:9", None, "127.0.0.3:9").await.as_deref(), Ok("127.0.0.1:9"));
        assert_eq!(on("[::1]:9", None, "nowhere").await.as_deref(), Ok("[::1]:9"));
        for nowhere in ["nowhere", "no host:1", "127.0.0.1:x"] {
            let said = on("0.0.0.0:4002", None, nowhere).await.unwrap_err();
            assert!(said.contains("add --advertise HOST:PORT") && said.contains(nowhere), "{said}");
        }
    }
}
