//! Shared memory of a block: its bytes, and who touched them since the last barrier.
//!
//! A cell is the smallest access of the kernel. It remembers its last writer and its readers, each
//! with the interval between barriers in which that was. Two threads touching a cell in one
//! interval, one of them writing, race; unless they are of one warp and a warp's barrier lay
//! between.

/// Intervals are counted above this many bits; below is who.
const WHO_BITS: u32 = 12;
const WHO: u32 = (1 << WHO_BITS) - 1;
/// Threads of several warps.
const MANY: u32 = WHO;
/// Several threads of warp 0; those of others follow.
const WARP: u32 = 1024;
/// Atomic accesses of any thread.
const ATOMIC: u32 = WHO - 1;
/// The interval of a cell that an asynchronous copy is on its way to.
const COMING: u32 = u32::MAX >> WHO_BITS;

/// Shared memory of one block.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Bytes the kernel declared and was granted, to the last one.
    pub(crate) len: usize,
    /// As many, and perhaps a few more for whole words.
    pub(crate) bytes: Vec<u8>,
    writes: Vec<u32>,
    reads: Vec<u32>,
    /// The warp's barriers before the last write and the last read of each cell.
    write_syncs: Vec<u32>,
    read_syncs: Vec<u32>,
    shift: u32,
    interval: u32,
    syncs_warps: bool,
}

/// The thread that accesses shared memory, with its synchronizations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Toucher {
    pub(crate) thread: u32,
    /// Number of synchronizations of the thread's warp.
    pub(crate) syncs: u32,
}

impl Shared {
    pub(crate) fn new(len: usize, grain: usize, syncs_warps: bool) -> Self {
        let n_cells = len.div_ceil(grain);
        let n_syncs = if syncs_warps { n_cells } else { 0 };
        Self {
            len,
            bytes: vec![0; len.next_multiple_of(16)],
            writes: vec![0; n_cells],
            reads: vec![0; n_cells],
            write_syncs: vec![0; n_syncs],
            read_syncs: vec![0; n_syncs],
            shift: grain.trailing_zeros(),
            interval: 1,
            syncs_warps,
        }
    }

    /// A new block: nothing is written.
    pub(crate) fn clear(&mut self) {
        self.writes.fill(0);
        self.reads.fill(0);
        self.interval = 1;
    }

    /// All threads have met.
    pub(crate) fn barrier(&mut self) {
        self.interval += 1;
        if self.interval == u32::MAX >> WHO_BITS {
            // The count is full: old stamps only have to say "written".
            for write in
                self.writes.iter_mut().filter(|write| **write != 0 && **write >> WHO_BITS != COMING)
            {
                *write = 1 << WHO_BITS;
            }
            self.reads.fill(0);
            self.interval = 2;
        }
    }

    /// Notes a read of bytes `at..at + size`.
    ///
    /// # Errors
    /// What is wrong with it, for a report.
    #[inline(always)]
    pub(crate) fn read(&mut self, at: usize, size: usize, by: Toucher) -> Result<(), String> {
        let (first, last) = (at >> self.shift, (at + size - 1) >> self.shift);
        let all = self.interval << WHO_BITS | MANY;
        let quiet = |cell: usize| {
            let write = self.writes[cell];
            write.wrapping_sub(1) < (self.interval << WHO_BITS) - 1 && self.reads[cell] == all
        };
        if (first..=last).all(quiet) {
            return Ok(());
        }
        (first..=last).try_for_each(|cell| self.read_cell(cell, by))
    }

    fn read_cell(&mut self, cell: usize, by: Toucher) -> Result<(), String> {
        let write = self.writes[cell];
        let current = self.interval << WHO_BITS;
        if write == 0 {
            return Err("reads shared memory that was never written".into());
        }
        if write & !WHO == COMING << WHO_BITS {
            return Err(format!("reads before its wait what thread {} copies here", write & WHO));
        }
        if write & !WHO == current
            && write & WHO != by.thread
            && !self.met(write & WHO, by, self.sync(&self.write_syncs, cell))
        {
            return Err(format!("reads what {} writes, no barrier between", named(write & WHO)));
        }
        let read = self.reads[cell];
        let who = match read & WHO {
            _ if read & !WHO != current => by.thread,
            who if who == by.thread => who,
            who if who == WARP + by.thread / 32 || who < WARP && who / 32 == by.thread / 32 => {
                WARP + by.thread / 32
            }
            _ => MANY,
        };
        self.reads[cell] = current | who;
        if self.syncs_warps {
            self.read_syncs[cell] = by.syncs;
        }
        Ok(())
    }

    fn sync(&self, syncs: &[u32], cell: usize) -> u32 {
        if self.syncs_warps { syncs[cell] } else { u32::MAX }
    }

    /// Whether a barrier of the warp lies between `who`'s access, after `syncs` of them, and now.
    fn met(&self, who: u32, by: Toucher, syncs: u32) -> bool {
        let warp = if who < WARP { who / 32 } else { who - WARP };
        self.syncs_warps && who < ATOMIC && warp == by.thread / 32 && syncs < by.syncs
    }

    /// Notes a write of bytes `at..at + size`; `coming` for a copy that has only begun.
    ///
    /// # Errors
    /// What is wrong with it, for a report.
    #[inline(always)]
    pub(crate) fn write(
        &mut self,
        at: usize,
        size: usize,
        by: Toucher,
        coming: bool,
    ) -> Result<(), String> {
        for cell in at >> self.shift..=(at + size - 1) >> self.shift {
            self.write_cell(cell, by)?;
            let interval = if coming { COMING } else { self.interval };
            self.writes[cell] = interval << WHO_BITS | by.thread;
            if self.syncs_warps {
                self.write_syncs[cell] = by.syncs;
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn write_cell(&self, cell: usize, by: Toucher) -> Result<(), String> {
        let current = self.interval << WHO_BITS;
        let (write, read) = (self.writes[cell], self.reads[cell]);
        if write & !WHO == COMING << WHO_BITS {
            return Err(format!("writes where a copy of thread {} is on its way", write & WHO));
        }
        if write & !WHO == current
            && write & WHO != by.thread
            && !self.met(write & WHO, by, self.sync(&self.write_syncs, cell))
        {
            return Err(format!("writes what {} writes, no barrier between", named(write & WHO)));
        }
        if read & !WHO == current
            && read & WHO != by.thread
            && !self.met(read & WHO, by, self.sync(&self.read_syncs, cell))
        {
            return Err(format!("writes what {} reads, no barrier between", named(read & WHO)));
        }
        Ok(())
    }

    /// Notes an atomic access: it races with plain accesses, not with its like.
    ///
    /// # Errors
    /// What is wrong with it, for a report.
    pub(crate) fn atomic(&mut self, at: usize, size: usize, by: Toucher) -> Result<(), String> {
        let like = Toucher { thread: ATOMIC, ..by };
        for cell in at >> self.shift..=(at + size - 1) >> self.shift {
            if self.writes[cell] == 0 {
                return Err("reads shared memory that was never written".into());
            }
            self.write_cell(cell, like)?;
            self.writes[cell] = self.interval << WHO_BITS | ATOMIC;
        }
        Ok(())
    }

    /// An asynchronous copy has arrived.
    pub(crate) fn arrive(&mut self, at: usize, bytes: &[u8], by: Toucher) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        for cell in at >> self.shift..=(at + bytes.len() - 1) >> self.shift {
            self.writes[cell] = self.interval << WHO_BITS | by.thread;
            if self.syncs_warps {
                self.write_syncs[cell] = by.syncs;
            }
        }
    }
}

fn named(who: u32) -> String {
    match who {
        MANY => "more than one warp".into(),
        ATOMIC => "an atomic access".into(),
        who if who >= WARP => format!("warp {}", who - WARP),
        who => format!("thread {who}"),
    }
}
