//! A kernel as the interpreter runs it: a flat list of instructions over numbered rows.

use crate::lanes::{Run, Shape, Slots};
use crate::ptx::{Class, Space};

/// No register: a `_`, or nothing there.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// A kernel, lowered.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) code: Vec<Instruction>,
    pub(crate) n_rows: usize,
    pub(crate) n_predicates: usize,
    /// Values that are in a row from a block's start on.
    pub(crate) fixed: Vec<(Fixed, Class, u32)>,
    pub(crate) params: Vec<crate::ptx::Param>,
    pub(crate) param_bytes: usize,
    pub(crate) max_threads: u32,
    /// Bytes of shared memory declared with a size.
    pub(crate) static_shared: usize,
    /// Bytes of local memory a thread.
    pub(crate) local: usize,
    /// Bytes of the smallest access that can meet shared memory: what races are told apart by.
    pub(crate) grain: usize,
    /// Whether warps synchronize among themselves.
    pub(crate) syncs_warps: bool,
}

/// A value known before the first instruction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fixed {
    Bits(u64),
    Special(Special),
}

/// Special registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Special {
    /// Thread, threads, block and blocks; axis 0 to 2.
    Tid(usize),
    Ntid(usize),
    Ctaid(usize),
    Nctaid(usize),
    Lane,
    Warp,
    Nwarp,
    MaskEq,
    MaskLt,
    MaskLe,
    MaskGt,
    MaskGe,
    DynamicShared,
}

/// The condition of an instruction: it runs where predicate `number` differs from `negated`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guard {
    pub(crate) number: u32,
    pub(crate) negated: bool,
}

/// One instruction.
#[derive(Debug)]
pub(crate) struct Instruction {
    pub(crate) guard: Option<Guard>,
    pub(crate) action: Action,
    /// Line of the PTX text.
    pub(crate) line: u32,
    pub(crate) family: Family,
}

/// The families of instructions that counters distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Ffma,
    Float,
    Integer,
    LoadGlobal,
    StoreGlobal,
    LoadShared,
    StoreShared,
    Barrier,
    Branch,
    Tensor,
    Other,
}

/// The action of an instruction.
#[derive(Debug)]
pub(crate) enum Action {
    Plain {
        run: Run,
        slots: Slots,
        shape: Shape,
    },
    Branch(u32),
    /// Goes to the target whose number is in the row.
    Switch {
        index: u32,
        targets: Vec<u32>,
    },
    Exit,
    Barrier,
    SyncWarp {
        mask: u32,
    },
    Load(Box<Access>),
    Store(Box<Access>),
    Atomic(Box<Atomic>),
    Shuffle(Box<Shuffle>),
    Vote(Box<Vote>),
    Reduce(Box<Reduce>),
    ActiveMask {
        d: u32,
    },
    CopyAsync(Box<CopyAsync>),
    CopyCommit,
    /// Waits until at most so many groups are on their way.
    CopyWait(u32),
    LoadMatrix(Box<LoadMatrix>),
    Multiply(Box<Multiply>),
    Trap,
}

/// An address: a row (one or two) and an offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub(crate) slot: u32,
    pub(crate) wide: bool,
    pub(crate) offset: i64,
}

/// A load or a store of one to four values a lane.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) space: Space,
    pub(crate) address: Address,
    /// Bytes a value.
    pub(crate) width: usize,
    pub(crate) signed: bool,
    pub(crate) count: usize,
    pub(crate) values: [u32; 4],
    /// Whether the registers have 64 bits.
    pub(crate) wide: bool,
}

/// The operations of atomic accesses on the old value and the operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtomicKind {
    Add,
    AddF32,
    AddF64,
    MinSigned,
    MaxSigned,
    MinUnsigned,
    MaxUnsigned,
    And,
    Or,
    Xor,
    Exchange,
    CompareExchange,
    Increment,
    Decrement,
}

/// An atomic access; `d` is [`NOWHERE`] for `red`.
#[derive(Debug)]
pub(crate) struct Atomic {
    pub(crate) kind: AtomicKind,
    pub(crate) space: Space,
    pub(crate) address: Address,
    pub(crate) wide: bool,
    pub(crate) d: u32,
    pub(crate) b: u32,
    pub(crate) c: u32,
}

/// The rules by which a shuffle selects the lane to read from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ShuffleKind {
    Up,
    Down,
    Butterfly,
    Index,
}

/// `shfl.sync`.
#[derive(Debug)]
pub(crate) struct Shuffle {
    pub(crate) kind: ShuffleKind,
    pub(crate) d: u32,
    pub(crate) valid: u32,
    pub(crate) a: u32,
    pub(crate) b: u32,
    pub(crate) c: u32,
    pub(crate) mask: u32,
}

/// The ways to count votes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum VoteKind {
    All,
    Any,
    Uniform,
    Ballot,
}

/// `vote.sync`.
#[derive(Debug)]
pub(crate) struct Vote {
    pub(crate) kind: VoteKind,
    pub(crate) d: u32,
    pub(crate) a: u32,
    pub(crate) negated: bool,
    pub(crate) mask: u32,
}

/// `redux.sync`.
#[derive(Debug)]
pub(crate) struct Reduce {
    pub(crate) kind: AtomicKind,
    pub(crate) d: u32,
    pub(crate) a: u32,
    pub(crate) mask: u32,
}

/// `cp.async`: global to shared, visible only at its wait.
#[derive(Debug)]
pub(crate) struct CopyAsync {
    pub(crate) to: Address,
    pub(crate) from: Address,
    pub(crate) size: usize,
    /// Row with the number of bytes to read, the rest being zero.
    pub(crate) source_size: u32,
}

/// `ldmatrix`.
#[derive(Debug)]
pub(crate) struct LoadMatrix {
    pub(crate) address: Address,
    pub(crate) transposed: bool,
    pub(crate) count: usize,
    pub(crate) values: [u32; 4],
}

/// The number formats of the factors of a matrix product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Factor {
    Half,
    Brain,
    Tf32,
}

/// `mma.sync` with 16 rows and 8 columns, summed in f32.
#[derive(Debug)]
pub(crate) struct Multiply {
    pub(crate) factor: Factor,
    pub(crate) depth: usize,
    pub(crate) d: [u32; 4],
    pub(crate) a: [u32; 4],
    pub(crate) b: [u32; 2],
    pub(crate) c: [u32; 4],
}

/// Whether an instruction reads or writes a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Read,
    Write,
}

impl Instruction {
    /// Shows every register of the instruction, reads before writes.
    pub(crate) fn registers(&mut self, mut see: impl FnMut(&mut u32, Role)) {
        if let Some(guard) = &mut self.guard {
            see(&mut guard.number, Role::Read);
        }
        let mut show = |slot: &mut u32, role| {
            if *slot != NOWHERE {
                see(slot, role);
            }
        };
        use Role::{Read, Write};
        match &mut self.action {
            Action::Plain { slots, shape, .. } => {
                let operands = [&mut slots.a, &mut slots.b, &mut slots.c, &mut slots.e];
                for (slot, _) in
                    operands.into_iter().zip(shape.operands).filter(|(_, class)| class.is_some())
                {
                    show(slot, Read);
                }
                show(&mut slots.d, Write);
            }
            Action::Switch { index, .. } => show(index, Read),
            Action::SyncWarp { mask } => show(mask, Read),
            Action::Load(access) => {
                show(&mut access.address.slot, Read);
                access.values.iter_mut().for_each(|value| show(value, Write));
            }
            Action::Store(access) => {
                show(&mut access.address.slot, Read);
                access.values.iter_mut().for_each(|value| show(value, Read));
            }
            Action::Atomic(atomic) => {
                for slot in [&mut atomic.address.slot, &mut atomic.b, &mut atomic.c] {
                    show(slot, Read);
                }
                show(&mut atomic.d, Write);
            }
            Action::Shuffle(shuffle) => {
                for slot in [&mut shuffle.a, &mut shuffle.b, &mut shuffle.c, &mut shuffle.mask] {
                    show(slot, Read);
                }
                show(&mut shuffle.d, Write);
                show(&mut shuffle.valid, Write);
            }
            Action::Vote(vote) => {
                show(&mut vote.a, Read);
                show(&mut vote.mask, Read);
                show(&mut vote.d, Write);
            }
            Action::Reduce(reduce) => {
                show(&mut reduce.a, Read);
                show(&mut reduce.mask, Read);
                show(&mut reduce.d, Write);
            }
            Action::ActiveMask { d } => show(d, Write),
            Action::CopyAsync(copy) => {
                for slot in [&mut copy.to.slot, &mut copy.from.slot, &mut copy.source_size] {
                    show(slot, Read);
                }
            }
            Action::LoadMatrix(load) => {
                show(&mut load.address.slot, Read);
                load.values.iter_mut().for_each(|value| show(value, Write));
            }
            Action::Multiply(multiply) => {
                let Multiply { d, a, b, c, .. } = &mut **multiply;
                a.iter_mut().chain(b).chain(c).for_each(|slot| show(slot, Read));
                d.iter_mut().for_each(|slot| show(slot, Write));
            }
            Action::Branch(_)
            | Action::Exit
            | Action::Barrier
            | Action::CopyCommit
            | Action::CopyWait(_)
            | Action::Trap => {}
        }
    }
}
