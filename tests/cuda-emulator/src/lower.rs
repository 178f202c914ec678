//! From PTX statements to a [`Program`].
//!
//! An opcode that is neither in the tables of `operations` nor handled here is refused with its
//! line.

mod access;
mod allocate;
mod control;
mod special;

use crate::lanes::Slots;
use crate::operations;
use crate::program::{Action, Family, Fixed, Guard, Instruction, NOWHERE, Program};
use crate::ptx::{Class, Kernel, Operand, Space, Statement};
use std::collections::HashMap;

/// The spaces and addresses of a module's variables.
pub(crate) type Symbols = HashMap<String, (Space, u64)>;

/// Generic addresses of shared, local and parameter memory begin here; real pointers are far below.
pub(crate) const SHARED_WINDOW: u64 = 1 << 56;
/// See [`SHARED_WINDOW`].
pub(crate) const LOCAL_WINDOW: u64 = 2 << 56;
/// See [`SHARED_WINDOW`].
pub(crate) const PARAM_WINDOW: u64 = 3 << 56;
/// The part of a generic address that is an offset into its window.
pub(crate) const WINDOW_OFFSET: u64 = (1 << 56) - 1;

/// A kernel on its way to a program.
struct Lowering<'a> {
    kernel: &'a Kernel,
    symbols: Symbols,
    /// Class of every register, written or made here.
    classes: Vec<Class>,
    fixed: HashMap<(Fixed, Class), u32>,
    code: Vec<Instruction>,
    labels: HashMap<&'a str, u32>,
    tables: HashMap<&'a str, &'a [String]>,
    /// Branches to set once all labels are known: instruction and its labels.
    open: Vec<(usize, Vec<String>)>,
    /// Of the statement being lowered.
    guard: Option<Guard>,
    line: u32,
}

/// Lowers `kernel`, whose module's variables are `globals`.
///
/// # Errors
/// The first statement that is not understood, with its line.
pub(crate) fn lower(kernel: &Kernel, globals: &Symbols) -> Result<Program, String> {
    let mut symbols = globals.clone();
    let (static_shared, local) = place(kernel, &mut symbols);
    let mut lowering = Lowering {
        kernel,
        symbols,
        classes: kernel.registers.clone(),
        fixed: HashMap::new(),
        code: Vec::new(),
        labels: HashMap::new(),
        tables: HashMap::new(),
        open: Vec::new(),
        guard: None,
        line: 0,
    };
    for statement in &kernel.body {
        lowering.statement(statement).map_err(|why| format!("line {}: {why}", lowering.line))?;
    }
    // Whoever falls off the end returns.
    lowering.guard = None;
    lowering.push(Action::Exit, Family::Branch);
    lowering.close()?;
    Ok(lowering.finish(static_shared, local))
}

/// Gives shared and local variables their offsets; returns the bytes of both.
fn place(kernel: &Kernel, symbols: &mut Symbols) -> (usize, usize) {
    let (mut shared, mut local) = (0usize, 0usize);
    for variable in &kernel.variables {
        let end = if variable.space == Space::Shared { &mut shared } else { &mut local };
        let offset = end.next_multiple_of(variable.align);
        *end = offset + variable.size;
        symbols.insert(variable.name.clone(), (variable.space, offset as u64));
    }
    // Dynamic shared memory begins behind the static, at the strongest alignment there is.
    let dynamic = shared.next_multiple_of(16);
    for (space, offset) in symbols.values_mut().filter(|(space, _)| *space == Space::DynamicShared)
    {
        *space = Space::Shared;
        *offset = dynamic as u64;
        shared = dynamic;
    }
    (shared, local)
}

impl<'a> Lowering<'a> {
    fn statement(&mut self, statement: &'a Statement) -> Result<(), String> {
        match statement {
            Statement::Label(name) => {
                self.labels.insert(name, self.code.len() as u32);
            }
            Statement::Targets(name, targets) => {
                self.tables.insert(name, targets);
            }
            Statement::Instruction(instruction) => {
                self.line = instruction.line;
                self.guard = instruction.guard.map(|(number, negated)| Guard { number, negated });
                self.instruction(&instruction.opcode, &instruction.operands)
                    .map_err(|why| format!("{}: {why}", instruction.opcode))?;
            }
        }
        Ok(())
    }

    fn instruction(&mut self, opcode: &str, operands: &[Operand]) -> Result<(), String> {
        let words: Vec<&str> = opcode.split('.').collect();
        match words[0] {
            "ld" | "ldu" => self.load(&words[1..], operands),
            "st" => self.store(&words[1..], operands),
            "atom" | "red" => self.atomic(&words, operands),
            "cp" => self.copy_async(&words[1..], operands),
            "ldmatrix" => self.load_matrix(&words[1..], operands),
            "mma" => self.multiply(opcode, operands),
            "bra" | "brx" | "ret" | "exit" | "bar" | "barrier" | "membar" | "fence" | "trap" => {
                self.control(opcode, operands)
            }
            "shfl" | "vote" | "redux" | "activemask" => self.across_lanes(&words, operands),
            "cvta" => self.convert_address(&words[1..], operands),
            "setp" => self.compare(&words[1..], operands),
            "mov" if operands.iter().any(|operand| matches!(operand, Operand::Vector(_))) => {
                self.move_parts(words.get(1).copied().unwrap_or(""), operands)
            }
            _ => self.plain(opcode, operands),
        }
    }

    fn push(&mut self, action: Action, family: Family) {
        self.code.push(Instruction { guard: self.guard, action, line: self.line, family });
    }

    /// A new register.
    fn temporary(&mut self, class: Class) -> u32 {
        self.classes.push(class);
        self.classes.len() as u32 - 1
    }

    /// The register that holds `value` from the start.
    fn fixed(&mut self, value: Fixed, class: Class) -> u32 {
        if let Some(&register) = self.fixed.get(&(value.clone(), class)) {
            return register;
        }
        let register = self.temporary(class);
        self.fixed.insert((value, class), register);
        register
    }

    /// The register of an operand that is read.
    fn read(&mut self, operand: &Operand, class: Class) -> Result<u32, String> {
        let bits = match operand {
            Operand::Register(number) if self.classes[*number as usize] == class => {
                return Ok(*number);
            }
            Operand::NotRegister(number) if class == Class::Predicate => {
                let not = self.temporary(Class::Predicate);
                self.emit("not.pred", not, &[*number])?;
                return Ok(not);
            }
            Operand::Integer(value) => *value,
            Operand::Float(bits) if class == Class::Word => (*bits).into(),
            Operand::Double(bits) if class == Class::Double => *bits,
            Operand::Special(name) if class == Class::Word => {
                return Ok(self.fixed(Fixed::Special(special::named(name)?), class));
            }
            Operand::Symbol(name, offset) => match self.symbols.get(name) {
                Some((_, address)) => address.wrapping_add_signed(*offset),
                None if name == "WARP_SZ" => 32,
                None => self
                    .param(name)
                    .ok_or_else(|| format!("{name} is not declared"))?
                    .wrapping_add_signed(*offset),
            },
            other => return Err(format!("{other:?} where a {class:?} register should be")),
        };
        let bits = match class {
            Class::Word => bits & 0xFFFF_FFFF,
            Class::Double => bits,
            Class::Predicate => u64::from(bits != 0),
        };
        Ok(self.fixed(Fixed::Bits(bits), class))
    }

    fn param(&self, name: &str) -> Option<u64> {
        self.kernel.params.iter().find(|param| param.name == name).map(|param| param.offset as u64)
    }

    /// The register an operand names as result.
    fn written(&self, operand: &Operand, class: Class) -> Result<u32, String> {
        match operand {
            Operand::Register(number) if self.classes[*number as usize] == class => Ok(*number),
            Operand::Nothing => Ok(NOWHERE),
            other => Err(format!("{other:?} where a {class:?} result should be")),
        }
    }

    /// Appends a plain operation on registers.
    fn emit(&mut self, opcode: &str, d: u32, operands: &[u32]) -> Result<(), String> {
        let operation = operations::find(opcode).ok_or("unknown opcode or form")?;
        let slot = |i: usize| operands.get(i).copied().unwrap_or(0);
        let slots = Slots { d, a: slot(0), b: slot(1), c: slot(2), e: slot(3) };
        let family = special::family(opcode);
        self.push(Action::Plain { run: operation.run, slots, shape: operation.shape }, family);
        Ok(())
    }

    /// An opcode of the tables; `.ftz` and `.sat` become operations of their own around it.
    fn plain(&mut self, opcode: &str, operands: &[Operand]) -> Result<(), String> {
        let flush = opcode.contains(".ftz") && !opcode.ends_with(".f64");
        let bare = if flush { opcode.replace(".ftz", "") } else { opcode.to_owned() };
        let saturate = operations::find(&bare).is_none() && bare.contains(".sat.f32");
        let bare = if saturate { bare.replace(".sat", "") } else { bare };
        let shape = operations::find(&bare).ok_or("unknown opcode or form")?.shape;
        let wanted: Vec<Class> = shape.operands.into_iter().flatten().collect();
        let [d, sources @ ..] = operands else { return Err("no operands".into()) };
        if sources.len() != wanted.len() {
            return Err(format!("{} operands where {} should be", sources.len(), wanted.len()));
        }
        let mut slots = Vec::new();
        for (source, class) in sources.iter().zip(wanted) {
            let mut slot = self.read(source, class)?;
            if flush && class == Class::Word && special::source_is_float(&bare) {
                let flushed = self.temporary(class);
                self.emit("flush.f32", flushed, &[slot])?;
                slot = flushed;
            }
            slots.push(slot);
        }
        let d = self.written(d, shape.d)?;
        self.emit(&bare, d, &slots)?;
        if saturate {
            self.emit("saturate.f32", d, &[d])?;
        }
        if flush && shape.d == Class::Word && special::result_is_float(&bare) {
            self.emit("flush.f32", d, &[d])?;
        }
        Ok(())
    }

    fn finish(mut self, static_shared: usize, local: usize) -> Program {
        let rows = allocate::allocate(&mut self.code, &self.classes, &self.fixed);
        let (grain, syncs_warps) = special::shared_habits(&self.code);
        Program {
            name: self.kernel.name.clone(),
            code: self.code,
            n_rows: rows.n_rows,
            n_predicates: rows.n_predicates,
            fixed: rows.fixed,
            params: self.kernel.params.clone(),
            param_bytes: self.kernel.param_bytes,
            max_threads: self.kernel.max_threads,
            static_shared,
            local: local.next_multiple_of(16),
            grain,
            syncs_warps,
        }
    }
}
