//! Starts logging: one format for machines, two for people.

use std::io::IsTerminal;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// The formats of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Lines for people, spaciously laid out.
    #[default]
    Pretty,
    /// One short line per event.
    Compact,
    /// One JSON object per line.
    Json,
}

/// Name of events that only the formats for people show: whole sentences and tables. Records hold
/// the same numbers.
pub const FOR_PEOPLE: &str = "for people";
/// Name of events that only the JSON format shows: records of many numbers.
pub const FOR_MACHINES: &str = "for machines";
/// Name of the span around all of a coordinator's work, which carries the run's id. The formats for
/// people leave it out.
pub const RUN: &str = "run";

impl LogFormat {
    /// Whether a format shows events and spans of this name.
    fn shows(self, name: &str) -> bool {
        match self {
            LogFormat::Json => name != FOR_PEOPLE,
            LogFormat::Pretty | LogFormat::Compact => name != FOR_MACHINES && name != RUN,
        }
    }
}

/// The time of a log line for people, to the second.
#[derive(Debug)]
struct Seconds;

impl FormatTime for Seconds {
    fn format_time(&self, to: &mut Writer<'_>) -> std::fmt::Result {
        let now = time::OffsetDateTime::now_utc();
        let (date, (hour, minute, second)) = (now.date(), now.to_hms());
        write!(to, "{date}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Starts logging to standard error; `filter` is written as in `RUST_LOG`, for example
/// `info,gpu_worker=debug`.
///
/// # Errors
/// A sentence if the filter can't be read or logging was started before.
pub fn start_tracing(format: LogFormat, filter: &str) -> Result<(), String> {
    use tracing_subscriber::filter::{EnvFilter, filter_fn};
    use tracing_subscriber::fmt;
    use tracing_subscriber::prelude::*;
    let filter = EnvFilter::try_new(filter).map_err(|e| {
        format!("RUST_LOG={filter:?} is not a filter like info or loader=debug: {e}")
    })?;
    // A log on a full disk must not end the process: the library would report the failed write by
    // a print that panics where that fails too.
    let mut lines = fmt::layer().with_writer(std::io::stderr).log_internal_errors(false);
    // The library looks at NO_COLOR, but not at what standard error is.
    if !std::io::stderr().is_terminal() {
        lines.set_ansi(false);
    }
    let shown = filter_fn(move |what| format.shows(what.name()));
    let registry = tracing_subscriber::registry().with(filter).with(shown);
    match format {
        LogFormat::Pretty => registry.with(lines.with_target(false).with_timer(Seconds)).try_init(),
        LogFormat::Compact => {
            registry.with(lines.compact().with_target(false).with_timer(Seconds)).try_init()
        }
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    }
    .map_err(|e| format!("logging can't be started: {e}"))
}
