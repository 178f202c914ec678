//! The other half's frames → tensors: what is no frame of this incarnation, or not the next one, is
//! refused before a byte of payload is looked at. No socket here.

use std::time::Instant;

use model::recipe::Encoding;
use proto::chunk::Assembler;
use proto::wire::{self, Frame, Header};
use tonic::Status;

use crate::backend::EXPONENTS;

use super::{Arrival, ArrivedKey, Direction, Pass};

/// Longest tensor taken: conv3's slice of a 1,024-image minibatch is 89 MB.
const LONGEST: u64 = 256 << 20;

/// One stream's frames, as far as they have come.
#[derive(Debug)]
pub struct Inflow {
    run_id: String,
    incarnation: u64,
    now: Option<(Header, Assembler, Instant)>,
}

impl Inflow {
    /// For the tensors of one incarnation.
    pub fn new(run_id: String, incarnation: u64) -> Self {
        Self { run_id, incarnation, now: None }
    }

    /// Takes the next frame; a tensor if it was its last.
    ///
    /// # Errors
    /// If it isn't due: what the sender is told.
    pub fn take(&mut self, frame: Frame) -> Result<Option<Arrival>, Status> {
        let header =
            frame.header.ok_or_else(|| Status::invalid_argument("a frame without a header"))?;
        if header.run_id != self.run_id || header.incarnation != self.incarnation {
            return Err(Status::aborted("a frame of another run or incarnation"));
        }
        let Some(chunk) = frame.chunk else {
            // The announcement: from here on the other half is sending, and not late.
            if self.now.is_some() {
                return Err(Status::invalid_argument("an announcement inside a tensor"));
            }
            self.now = Some((header, Assembler::new(LONGEST), Instant::now()));
            return Ok(None);
        };
        let (first, mut assembler, began) =
            self.now.take().ok_or_else(|| Status::invalid_argument("a chunk nobody announced"))?;
        if first != header {
            return Err(Status::failed_precondition(format!(
                "a chunk of {header:?} inside {first:?}"
            )));
        }
        if assembler.take(chunk).map_err(|e| Status::data_loss(e.to_string()))? {
            return arrival(header, assembler, began).map(Some);
        }
        self.now = Some((first, assembler, began));
        Ok(None)
    }
}

fn arrival(header: Header, assembler: Assembler, began: Instant) -> Result<Arrival, Status> {
    let bad = |what: &str| Status::invalid_argument(format!("a header without its {what}"));
    let pass = match header.kind() {
        wire::FrameKind::Train => Pass::Train(header.step),
        wire::FrameKind::Eval => Pass::Eval { batch: header.step, view: header.view },
        wire::FrameKind::Hello | wire::FrameKind::Unspecified => return Err(bad("kind")),
    };
    let direction = match header.direction() {
        wire::Direction::Forward => Direction::Forward,
        wire::Direction::Backward => Direction::Backward,
        wire::Direction::Unspecified => return Err(bad("direction")),
    };
    let wire = match header.encoding() {
        wire::Encoding::F32 => Encoding::F32,
        wire::Encoding::F16 => Encoding::F16,
        wire::Encoding::Unspecified => return Err(bad("encoding")),
    };
    if !EXPONENTS.contains(&header.exponent) {
        return Err(Status::invalid_argument(format!("a scale of 2^{}", header.exponent)));
    }
    Ok(Arrival {
        key: ArrivedKey {
            pass,
            at: header.at,
            direction,
            slice: header.slice as usize,
            minibatch: header.minibatch,
        },
        parts: assembler.into_parts(),
        wire,
        exponent: header.exponent,
        began,
        ended: Instant::now(),
    })
}
