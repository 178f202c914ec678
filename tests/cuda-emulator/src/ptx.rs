//! PTX text into kernels: declarations, statements and operands, with every register resolved.
//!
//! Nothing is skipped: what is not understood is refused with its line.

pub(crate) mod token;
pub(crate) mod cursor;
pub(crate) mod variable;
pub(crate) mod module;
pub(crate) mod body;

/// A module as written.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// The number in `.target sm_80`.
    pub(crate) arch: u32,
    /// `.global`, `.const` and module-wide `.shared` variables.
    pub(crate) variables: Vec<Variable>,
    pub(crate) kernels: Vec<Kernel>,
}

/// The state space of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Global,
    Const,
    Shared,
    /// `.extern .shared`: begins where the static shared memory ends.
    DynamicShared,
    Local,
    Param,
    Generic,
}

/// A declared variable.
#[derive(Clone, Debug)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) space: Space,
    pub(crate) align: usize,
    pub(crate) size: usize,
    pub(crate) initial: Vec<u8>,
}

/// A kernel's parameter.
#[derive(Clone, Debug)]
pub(crate) struct Param {
    pub(crate) name: String,
    pub(crate) offset: usize,
    pub(crate) size: usize,
}

/// The class of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Class {
    Predicate,
    /// Up to 32 bits.
    Word,
    Double,
}

/// A kernel as written.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    pub(crate) name: String,
    pub(crate) params: Vec<Param>,
    pub(crate) param_bytes: usize,
    pub(crate) max_threads: u32,
    /// The class of every register, by number.
    pub(crate) registers: Vec<Class>,
    /// `.shared` and `.local` variables of the body.
    pub(crate) variables: Vec<Variable>,
    pub(crate) body: Vec<Statement>,
}

/// One statement of a kernel's body.
#[derive(Debug)]
pub(crate) enum Statement {
    Label(String),
    /// `name: .branchtargets a, b, c;`
    Targets(String, Vec<String>),
    Instruction(Instruction),
}

/// An instruction as written.
#[derive(Debug)]
pub(crate) struct Instruction {
    /// Register and whether it is negated.
    pub(crate) guard: Option<(u32, bool)>,
    pub(crate) opcode: String,
    pub(crate) operands: Vec<Operand>,
    pub(crate) line: u32,
}

/// An operand as written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    Register(u32),
    NotRegister(u32),
    /// `d|p`
    Pair(u32, u32),
    Integer(u64),
    Float(u32),
    Double(u64),
    /// `%tid.x` and its like.
    Special(String),
    /// A variable, parameter or label, and an offset.
    Symbol(String, i64),
    Vector(Vec<Operand>),
    Address(Box<Operand>, i64),
    /// `_`
    Nothing,
}
