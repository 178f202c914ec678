//! The address that other processes are given.

use std::net::{IpAddr, SocketAddr};

/// The address that other processes are given: `advertise`, or by default the listener's own if it
/// has a meaning on other machines. An `advertise` without a port gets the listener's.
///
/// # Errors
/// A sentence that says what to do, if neither can be dialed.
pub fn advertised(own: SocketAddr, advertise: Option<&str>) -> Result<String, String> {
    let Some(given) = advertise else {
        return match own.ip().is_unspecified() {
            false => Ok(own.to_string()),
            true => Err(format!(
                "listening on {own} says nothing about how others reach this machine: add \
                 --advertise HOST:PORT as they dial it, or --listen on one address of it"
            )),
        };
    };
    let address = match given.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, own.port()).to_string(),
        Err(_) if given.contains(':') => given.to_owned(),
        Err(_) => format!("{given}:{}", own.port()),
    };
    let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let nowhere = address.parse::<SocketAddr>().is_ok_and(|a| a.ip().is_unspecified());
    if nowhere || port.unwrap_or(0) == 0 {
        return Err(format!(
            "--advertise {given} can't be dialed; give HOST:PORT as others reach this machine, \
             such as 10.0.0.2:4002"
        ));
    }
    Ok(address)
}
