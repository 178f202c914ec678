//! Records of TensorBoard: `Event` of TensorFlow's `event.proto`, as far as scalars need it, each
//! in the frame of a TFRecord file.

use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

/// Version in the first record of a file; TensorBoard heeds restarts only with this one.
const VERSION: &str = "brain.Event:2";
/// `SessionLog.SessionStatus.START`.
const START: i32 = 1;

/// One record.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "Content", tags = "3, 5, 7")]
    content: Option<Content>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Content {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    /// A oneof in the original, which is the same on the wire; optional, so that a 0 is written
    /// too.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

impl Event {
    fn new(now: SystemTime, step: u64, content: Content) -> Self {
        let wall_time = now.duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64());
        Self { wall_time, step: step as i64, content: Some(content) }
    }

    /// The first record of a file, to stand before this one.
    pub(super) fn first(next: &Self) -> Self {
        Self {
            wall_time: next.wall_time,
            step: 0,
            content: Some(Content::FileVersion(VERSION.into())),
        }
    }

    /// Numbers of one step.
    pub(super) fn scalars(now: SystemTime, step: u64, values: &[(&str, f64)]) -> Self {
        let value = |(tag, value): &(&str, f64)| Value {
            tag: (*tag).to_string(),
            simple_value: Some(*value as f32),
        };
        let summary = Summary { value: values.iter().map(value).collect() };
        Self::new(now, step, Content::Summary(summary))
    }

    /// Makes a reader forget all records of `step` and later.
    pub(super) fn restart(now: SystemTime, step: u64) -> Self {
        Self::new(now, step, Content::SessionLog(SessionLog { status: START }))
    }

    /// The record in a TFRecord file: length, its checksum, content, its checksum.
    pub(super) fn record(&self) -> Vec<u8> {
        let content = self.encode_to_vec();
        let length = (content.len() as u64).to_le_bytes();
        let masked = |bytes: &[u8]| masked(crc32c::crc32c(bytes)).to_le_bytes();
        [&length[..], &masked(&length), &content, &masked(&content)].concat()
    }
}

/// Rotates and shifts a CRC as TensorFlow stores it, so that data that contains CRCs itself does
/// not check out by chance.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `tensorboard.summary.writer.record_writer` of tensorboard 2.21.0 from the same
    /// event.
    #[test]
    fn a_record_is_byte_for_byte_that_of_the_original() {
        let now = UNIX_EPOCH + std::time::Duration::from_millis(1_000_500);
        let event = Event::scalars(now, 300, &[("loss", 0.0), ("rate", 0.5)]);
        let hex: String = event.record().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "2800000000000000ff70164a090000000000448f4010ac022a1a0a0b0a046c6f737315000000000a0b\
             0a0472617465150000003fe52abcce"
        );
    }
}
