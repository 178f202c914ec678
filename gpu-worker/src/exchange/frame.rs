//! Tensors ⇄ the messages of the exchange. No socket here.
//!
//! A tensor's header says which tensor it is and how its numbers are encoded. Each frame has it; a
//! frame with a wrong one is refused before its payload is read.

use std::time::Instant;

use bytes::Bytes;
use model::recipe::Encoding;
use proto::chunk::Assembler;
use proto::wire::{self, Frame, FrameKind, Header};
use tonic::Status;

use super::{BatchId, Direction, ReceivedTensor, TensorKey};
use crate::backend::EXPONENTS;

/// Longest tensor accepted: conv3's micro-batch of a 1,024-image minibatch is 89 MB.
const LONGEST: u64 = 256 << 20;

/// The header of the first frame of a stream.
pub(super) fn hello(run_id: String, incarnation: u64, token: Bytes) -> Header {
    Header { run_id, incarnation, token, kind: FrameKind::Hello.into(), ..Header::default() }
}

/// The header of each frame of a tensor.
pub(super) fn header(
    run_id: &str,
    incarnation: u64,
    key: &TensorKey,
    encoding: Encoding,
    exponent: i32,
) -> Header {
    let (kind, step, view) = match key.batch {
        BatchId::Train(step) => (FrameKind::Train, step, 0),
        BatchId::Eval { batch, view } => (FrameKind::Eval, batch, view),
    };
    Header {
        run_id: run_id.into(),
        incarnation,
        step,
        kind: kind.into(),
        view,
        at: key.at.to_string(),
        direction: match key.direction {
            Direction::Forward => wire::Direction::Forward,
            Direction::Backward => wire::Direction::Backward,
        }
        .into(),
        micro_batch: key.micro_batch as u32,
        encoding: match encoding {
            Encoding::F32 => wire::Encoding::F32,
            Encoding::F16 => wire::Encoding::F16,
        }
        .into(),
        exponent,
        minibatch: key.digest,
        token: Bytes::new(),
    }
}

/// The key, encoding and exponent that a header names.
fn parse(header: Header) -> Result<(TensorKey, Encoding, i32), Status> {
    let missing = |what: &str| Status::invalid_argument(format!("a header without its {what}"));
    let batch = match header.kind() {
        FrameKind::Train => BatchId::Train(header.step),
        FrameKind::Eval => BatchId::Eval { batch: header.step, view: header.view },
        FrameKind::Hello | FrameKind::Unspecified => return Err(missing("kind")),
    };
    let direction = match header.direction() {
        wire::Direction::Forward => Direction::Forward,
        wire::Direction::Backward => Direction::Backward,
        wire::Direction::Unspecified => return Err(missing("direction")),
    };
    let encoding = match header.encoding() {
        wire::Encoding::F32 => Encoding::F32,
        wire::Encoding::F16 => Encoding::F16,
        wire::Encoding::Unspecified => return Err(missing("encoding")),
    };
    if !EXPONENTS.contains(&header.exponent) {
        return Err(Status::invalid_argument(format!("a scale of 2^{}", header.exponent)));
    }
    let (micro_batch, digest) = (header.micro_batch as usize, header.minibatch);
    let key = TensorKey { batch, at: header.at.into(), direction, micro_batch, digest };
    Ok((key, encoding, header.exponent))
}

/// Assembles the frames of one stream into tensors.
#[derive(Debug)]
pub struct TensorReader {
    run_id: String,
    incarnation: u64,
    /// The tensor that has been announced and isn't complete.
    current: Option<(Header, Assembler, Instant)>,
}

impl TensorReader {
    /// A reader for the tensors of one incarnation.
    pub fn new(run_id: String, incarnation: u64) -> Self {
        Self { run_id, incarnation, current: None }
    }

    /// Takes the next frame; returns a tensor if the frame completes one.
    ///
    /// # Errors
    /// The status for the sender, if this frame must not come next.
    pub fn take(&mut self, frame: Frame) -> Result<Option<ReceivedTensor>, Status> {
        let header =
            frame.header.ok_or_else(|| Status::invalid_argument("a frame without a header"))?;
        if header.run_id != self.run_id || header.incarnation != self.incarnation {
            return Err(Status::aborted("a frame of another run or incarnation"));
        }
        let Some(chunk) = frame.chunk else {
            // The announcement: from now on the other half is sending, and not late.
            if self.current.is_some() {
                return Err(Status::invalid_argument("an announcement inside a tensor"));
            }
            self.current = Some((header, Assembler::new(LONGEST), Instant::now()));
            return Ok(None);
        };
        let (first, mut assembler, began) = self
            .current
            .take()
            .ok_or_else(|| Status::invalid_argument("a chunk that nobody announced"))?;
        if first != header {
            return Err(Status::failed_precondition(format!(
                "a chunk of {} micro-batch {} inside {} micro-batch {}, or with another header",
                header.at, header.micro_batch, first.at, first.micro_batch
            )));
        }
        if assembler.take(chunk).map_err(|e| Status::data_loss(e.to_string()))? {
            let (key, encoding, exponent) = parse(header)?;
            let (crc32, ended) = (assembler.crc32(), Instant::now());
            let parts = assembler.into_parts();
            let tensor = ReceivedTensor { key, parts, crc32, encoding, exponent, began, ended };
            return Ok(Some(tensor));
        }
        self.current = Some((first, assembler, began));
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proto::chunk::{chunks, crc32};

    use super::*;

    #[test]
    fn a_header_read_back_names_the_same_tensor() {
        let batches = [BatchId::Train(9), BatchId::Eval { batch: 3, view: 10 }];
        let directions = [Direction::Forward, Direction::Backward];
        for (batch, direction) in batches.into_iter().zip(directions) {
            for encoding in [Encoding::F32, Encoding::F16] {
                let at = "conv3".into();
                let key = TensorKey { batch, at, direction, micro_batch: 2, digest: u64::MAX };
                let header = header("run", 7, &key, encoding, -4);
                assert_eq!((header.run_id.as_str(), header.incarnation), ("run", 7));
                assert_eq!(parse(header).unwrap(), (key, encoding, -4));
            }
        }
    }

    #[test]
    fn a_hello_is_no_tensor() {
        let status = parse(hello("run".into(), 7, Bytes::new())).unwrap_err();
        assert_eq!(status.message(), "a header without its kind");
    }

    #[test]
    fn an_announcement_and_its_chunks_become_the_tensor() {
        let (batch, direction) = (BatchId::Train(0), Direction::Forward);
        let key = TensorKey { batch, at: "fc6".into(), direction, micro_batch: 0, digest: 1 };
        let header = header("run", 1, &key, Encoding::F32, 0);
        let payload = Bytes::from(vec![7; 3 << 20]);
        let mut reader = TensorReader::new("run".into(), 1);
        let mut tensors = Vec::new();
        for chunk in std::iter::once(None).chain(chunks(payload.clone()).map(Some)) {
            let frame = Frame { header: Some(header.clone()), chunk };
            tensors.extend(reader.take(frame).unwrap());
        }
        let [tensor] = tensors.as_slice() else { panic!("{} tensors", tensors.len()) };
        assert_eq!(tensor.key, key);
        assert_eq!(tensor.parts.concat(), payload);
        assert_eq!(tensor.crc32, crc32(&payload));
    }
}
